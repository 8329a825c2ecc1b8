"""The package's rooms: what imports what, and which need no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'mmstal_da'
FILES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for path in PACKAGE.rglob('*.py')
}
# rooms and modules that work where no torch is installed
TORCH_FREE = (
    'mmstal_da.domains',
    'mmstal_da.errors',
    'mmstal_da.evaluation.compact',
    'mmstal_da.evaluation.checkpoint_ranking',
    'mmstal_da.evaluation.domain_gap.embedding',
    'mmstal_da.evaluation.domain_gap.probe',
    'mmstal_da.evaluation.files',
    'mmstal_da.evaluation.functional',
    'mmstal_da.evaluation.published',
    'mmstal_da.evaluation.report',
    'mmstal_da.evaluation.runs',
    'mmstal_da.synthetic',
    'mmstal_da.tubes',
    'mmstal_da.utils.interrupt',
    'mmstal_da.utils.io',
    'mmstal_da.utils.safe_pickle',
    'mmstal_da.video',
    'mmstal_da.visualization',
)
TORCH_FREE_TOOLS = (
    'analysis_tools/compare_runs',
    'analysis_tools/eval_detections',
    'analysis_tools/plot_curves',
    'analysis_tools/plot_domains',
    'analysis_tools/render_videos',
    'data/index_videos',
    'data/make_synthetic',
    'data/prepare',
    'data/split_jhmdb',
)


def imports_of(name: str) -> set[str]:
    """The package's modules that a module names in its imports, wherever they stand."""
    path = FILES[name]
    package = name if path.name == '__init__.py' else name.rpartition('.')[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split('.')[: len(package.split('.')) + 1 - node.level]
            module = '.'.join([*base, *filter(None, [node.module])]) if node.level else node.module
            found.add(module)
            found |= {f'{module}.{alias.name}' for alias in node.names}
    return {module for module in found if module in FILES} - {name}


def circle(graph: dict[str, set[str]]) -> list[str] | None:
    """Nodes around a circle of a graph, or None."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return None
        for other in sorted(graph[node]):
            found = visit(other, [*path, node])
            if found:
                return found
        done.add(node)
        return None

    return next(filter(None, (visit(node, []) for node in sorted(graph))), None)


def test_a_circle_is_found():
    assert circle({'a': {'b'}, 'b': {'c'}, 'c': set()}) is None
    assert circle({'a': {'b'}, 'b': {'c'}, 'c': {'b'}}) == ['b', 'c']


@pytest.mark.slow
def test_no_modules_import_each_other():
    # a package's __init__ names its own modules, which may name their neighbours
    graph = {
        name: {other for other in imports_of(name) if not name.startswith(f'{other}.')}
        for name in FILES
    }
    assert circle(graph) is None


@pytest.mark.slow
def test_no_rooms_import_each_other():
    """A room is a folder, or a module beside them; adaptation and layers are of the models."""
    rooms: dict[str, set[str]] = {}
    for name in FILES:
        room = '.'.join(name.split('.')[:2])
        others = {'.'.join(other.split('.')[:2]) for other in imports_of(name)}
        rooms.setdefault(room, set()).update(others - {room, 'mmstal_da'})
    assert circle(rooms) is None


def run(code: str) -> str:
    """Output of Python code in a process of its own."""
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_torch_free_wing_imports_no_torch():
    modules = sorted(n for n in FILES if any(f'{n}.'.startswith(f'{r}.') for r in TORCH_FREE))
    assert len(modules) > 60
    code = f'import importlib, sys\nfor m in {modules}: importlib.import_module(m)\n'
    assert run(code + "print('torch' in sys.modules, 'mmengine' in sys.modules)") == 'False False\n'


@pytest.mark.slow
def test_tools_on_files_import_no_torch():
    code = f"""
import contextlib, io, runpy, sys
for tool in {TORCH_FREE_TOOLS}:
    sys.argv = [tool, '--help']
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        runpy.run_path(f'tools/{{tool}}.py', run_name='__main__')
    assert 'torch' not in sys.modules, tool
"""
    run(code)
