"""The files of mmstal_da/experiments import one another in one order."""

import ast
import re
from pathlib import Path

from mmstal_da import experiments


def test_a_file_imports_only_what_stands_above_it():
    order = re.findall(r'^``(\w+)``', experiments.__doc__, re.MULTILINE)
    folder = Path(experiments.__file__).parent
    assert sorted(order) == sorted(p.stem for p in folder.glob('*.py') if p.stem != '__init__')
    for position, name in enumerate(order):
        tree = ast.parse((folder / f'{name}.py').read_text())
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imported = {node.module for node in nodes if node.level == 1}
        assert imported <= set(order[:position]), name
