"""DESIGN.md's "Arrows": who may import whom, read from the source."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "pmnar"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

MATHS = {"losses", "contrastive", "samples", "noise", "networks", "augment"}
LEAVES = {"checks", "errors", "files", "health", "names", "precision"}
LOW = MATHS | LEAVES | {"runtime"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "health": set(),
    "names": set(),
    "precision": set(),
    "published": set(),
    "checks": {"errors"},
    "files": {"errors"},
    **dict.fromkeys(MATHS, LEAVES),
    "runtime": LEAVES,
    "data": LOW,
    "detection": LOW,
    "methods": LOW | {"data"},
    "figures": LOW | {"detection"},
    "callbacks": LOW | {"data", "detection", "figures", "methods"},
    "tasks": LOW | {"data", "detection", "methods", "figures", "callbacks", "published"},
}
"""For each room, the rooms that it may import beside itself."""


def room(module: str) -> str:
    """`data.sources.cifar` → `data`."""
    return module.split(".")[0]


def imports(file: str) -> Iterator[str]:
    """Dotted names of all that a file imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import hides its room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def rooms_imported(file: str) -> set[str]:
    """The rooms of this library that a file imports."""
    own = {name.removeprefix("pmnar.") for name in imports(file) if name.startswith("pmnar.")}
    return {room(name) for name in own}


def files_imported(file: str) -> set[str]:
    """The files of this library that a file imports, the packages' `__init__.py` not counted."""
    dotted = {name_of(other): other for other in MODULES if not other.endswith("__init__.py")}
    own = {name.removeprefix("pmnar.") for name in imports(file) if name.startswith("pmnar.")}
    names = {name for full in own for name in (full, full.rpartition(".")[0])}
    return {dotted[name] for name in names & dotted.keys()} - {file}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of files each of which reaches every other."""

    def reached(file: str) -> set[str]:
        found: set[str] = set()
        ahead = [*graph[file]]
        while ahead:
            if (here := ahead.pop()) not in found:
                found.add(here)
                ahead += graph[here]
        return found

    reach = {file: reached(file) for file in graph}
    groups = {tuple(sorted(o for o in reach[f] if f in reach[o])) for f in graph if f in reach[f]}
    return sorted(map(list, groups))


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set[str]()}
    assert circles(graph) == [["a", "b", "c"]]


def test_no_circle_between_files() -> None:
    """Imports inside functions and under TYPE_CHECKING count."""
    found = circles({file: files_imported(file) for file in MODULES})
    assert found == []


def test_every_file_was_found() -> None:
    assert {room(name_of(file)) for file in MODULES} == {*MAY_IMPORT, "__init__"}


@pytest.mark.parametrize("file", [file for file in MODULES if file != "__init__.py"])
def test_imports_point_one_way(file: str) -> None:
    mine = room(name_of(file))
    wrong = rooms_imported(file) - MAY_IMPORT[mine] - {mine}
    assert not wrong, f"{mine} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("file", MODULES)
def test_hydra_is_known_to_tasks_alone(file: str) -> None:
    if room(name_of(file)) != "tasks":
        packages = {name.split(".")[0] for name in imports(file)}
        assert not packages & {"hydra", "omegaconf", "hydra_plugins"}


@pytest.mark.parametrize("file", [file for file in MODULES if room(name_of(file)) in MATHS])
def test_the_maths_knows_no_lightning(file: str) -> None:
    packages = {name.split(".")[0] for name in imports(file)}
    assert not packages & {"lightning", "pytorch_lightning", "torchmetrics"}


def test_the_importable_package_is_pmnar_alone() -> None:
    """Nothing below `pmnar` reaches for `src`, `conf`, `tests` or the entry points."""
    for file in MODULES:
        assert not {name.split(".")[0] for name in imports(file)} & {"src", "conf", "tests"}
