"""How the package is built: what a reader and a maintainer may rely on."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import json
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import tidings
from tidings.testing import Hub

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


def described(function: Any) -> set[str]:
    """The parameters that a docstring describes."""
    text = inspect.getdoc(function) or ""
    arguments = text.partition("Args:\n")[2].partition("\n\nReturns:")[0].partition("\n\nRaises:")[0]
    return set(re.findall(r"^    (\w+): ", arguments, re.MULTILINE))


@pytest.mark.parametrize("kind", [tidings.Collection, tidings.AsyncCollection])
@pytest.mark.parametrize("name", ["list", "get_full_list", "get_list", "get_one", "watch"])
def test_each_request_for_records_describes_its_parameters(kind: Any, name: str) -> None:
    function = getattr(kind, name)
    assert described(function) == set(inspect.signature(function).parameters) - {"self", "id"}
    assert "Raises:" in function.__doc__
    assert "{" not in function.__doc__


@pytest.mark.parametrize(
    "function",
    [
        kind.subscribe
        for kind in (tidings.Collection, tidings.AsyncCollection, tidings.Realtime, tidings.AsyncRealtime)
    ],
    ids=lambda function: function.__qualname__,
)
def test_each_subscribe_describes_its_parameters(function: Any) -> None:
    assert described(function) == set(inspect.signature(function).parameters) - {"self"}
    for section in ("at most once", "Returns:", "Raises:"):
        assert section in function.__doc__
    assert "{" not in function.__doc__


def test_the_options_of_a_client_are_described_in_order() -> None:
    documentation = inspect.getdoc(tidings.Client.__init__) or ""
    names = list(inspect.signature(tidings.Client).parameters)
    places = [documentation.index(f"\n    {name}: ") for name in names]
    assert places == sorted(places)


def test_the_counters_are_listed(hub: Hub) -> None:
    documentation = inspect.getdoc(tidings.Client.stats) or ""
    with tidings.Client(hub.url) as client:
        stats = client.stats()
    for name in [*stats, *stats["disconnects"]]:
        assert f"``{name}``" in documentation, name


ROOT = Path(__file__).parents[2]

# Not settings of C and Python, or another setting there: `headers` and `no_proxy` are `add_header`, `headers` and a proxy
# of none; a provider is a callback; `seed` is for tests; `connect_with` is for hosts with an executor.
RUST_ALONE = {"build", "connect_with", "headers", "no_proxy", "seed", "token_provider"}


def test_each_setting_of_a_client_is_in_c_and_in_python() -> None:
    builder = (ROOT / "src/client/builder.rs").read_text()
    settings = set(re.findall(r"^    pub fn (\w+)\W", builder, re.MULTILINE))
    header = (ROOT / "include/tidings.h").read_text()
    in_c = set(re.findall(r"tidings_client_options_(?:set|add)_(\w+)\(", header))
    assert settings - RUST_ALONE - in_c == set()
    in_python = set(inspect.signature(tidings.Client).parameters)
    assert settings - RUST_ALONE - in_python == {"header"}


PAIRS = [
    (tidings.Client, tidings.AsyncClient),
    (tidings.Collection, tidings.AsyncCollection),
    (tidings.Realtime, tidings.AsyncRealtime),
]


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS)
def test_sync_and_async_have_the_same_names_and_parameters(sync: type, asynchronous: type) -> None:
    def public(kind: type) -> dict[str, Any]:
        found = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}
        return {
            name: list(inspect.signature(what).parameters.values()) if callable(what) else None
            for name, what in found.items()
        }

    own, other = public(sync), public(asynchronous)
    assert own.keys() == other.keys()
    for name, parameters in own.items():
        if parameters is not None:
            assert [(p.name, p.kind, p.default) for p in parameters] == [
                (p.name, p.kind, p.default) for p in other[name]
            ], name


def test_the_wheel_has_its_licences_and_promises_what_is_kept() -> None:
    metadata = importlib.metadata.metadata("tidings")
    distribution = importlib.metadata.distribution("tidings")
    assert metadata["License-Expression"] == "MIT OR Apache-2.0"
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        text = distribution.read_text(f"licenses/{name}")
        assert text is not None
        assert len(text) > 1000
    assert "Operating System :: OS Independent" not in metadata.get_all("Classifier", [])
    page = metadata.get_payload()
    assert isinstance(page, str)
    assert "every change" not in " ".join(page.split())
    assert "may have been missed" in " ".join(page.split())


def test_the_bill_of_materials_names_packages_and_no_directory() -> None:
    files = importlib.metadata.files("tidings") or []
    (bill,) = [file for file in files if "sboms" in file.parts]
    text = bill.read_text()
    names = {component["name"] for component in json.loads(text)["components"]}
    assert {"tidings", "pyo3", "rustls"} <= names
    assert str(Path(__file__).parents[2]) not in text
