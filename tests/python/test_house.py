"""How the package is built: what a reader and a maintainer may rely on."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import tidings

PACKAGE = Path(tidings.__file__).parent


def imports(module: Path) -> set[str]:
    """The modules of this package that one names in an import, those for type checkers alone included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {name.name for name in node.names}
    return {name for name in found if (PACKAGE / f"{name}.py").exists()}


def test_the_modules_import_each_other_in_one_direction() -> None:
    modules = {module.stem: imports(module) for module in PACKAGE.glob("*.py")}
    assert len(modules) > 10
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' → '.join(error.args[1])}")
