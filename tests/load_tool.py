import importlib.util
import sys
from pathlib import Path
from types import ModuleType

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
