import importlib.util
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def load_tool(name: str) -> ModuleType:
    """The module of ``tools/<name>.py``; ``tools`` is a folder of scripts, not a package."""
    path = TOOLS / f'{name}.py'
    module_name = f'tool_{path.stem}'
    spec = importlib.util.spec_from_file_location(module_name, path)
    # registered, so that a process pool finds the tool's functions
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(name: str, *arguments: str | Path, folder: Path | None = None) -> str:
    """What ``tools/<name>.py`` prints, called in this process and in ``folder``; it must succeed.

    A process of its own would spend most of its time on imports.
    """
    printed = StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('sys.argv', [f'{name}.py', *map(str, arguments)])
        patch.setenv('LOCAL_RANK', '0')  # which train.py and test.py set for good
        if folder is not None:
            patch.chdir(folder)
        with redirect_stdout(printed), redirect_stderr(printed):
            try:
                code = load_tool(name).main()
            except SystemExit as end:
                code = end.code
    assert not code, printed.getvalue()[-4000:]
    return printed.getvalue()
