"""No check's verdict depends on what runs, sweeps and other tools left in the folder."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKED = ("src", "tests", "benchmarks")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # What a user adds to every pytest is for this one, not for the one below it.
    plain = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True)


@pytest.fixture
def worked_in(tmp_path: Path) -> Path:
    """A copy of what is checked, without git, in a folder full of leftovers."""
    for name in CHECKED:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    run(ROOT, str(ROOT / ".ci" / "leftovers"), str(tmp_path)).check_returncode()
    # Of the names of the tests' own helpers too, which is how a folder runs/ once was taken.
    for helper in ("runs", *(path.stem for path in (ROOT / "tests").glob("*.py"))):
        (tmp_path / helper).mkdir(exist_ok=True)
    return tmp_path


@pytest.mark.parametrize("check", [("check", "--no-cache"), ("format", "--check", "--no-cache")])
def test_ruff_says_the_same_beside_leftovers(worked_in: Path, check: tuple[str, ...]) -> None:
    done = run(worked_in, sys.executable, "-m", "ruff", *check, ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_still_finds_what_is_wrong_in_the_sources(worked_in: Path) -> None:
    for name in CHECKED:
        (worked_in / name / "wrong.py").write_text("import sys, os\n")
    done = run(worked_in, sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    assert done.returncode == 1
    assert all(f"{name}/wrong.py" in done.stdout for name in CHECKED)


def test_pytest_collects_no_leftovers(worked_in: Path) -> None:
    for path in (worked_in / "tests").iterdir():  # one file is enough to say what is collected
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name.startswith("test_") and path.name != "test_files.py":
            path.unlink()
    done = run(
        worked_in, sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    collected = [line for line in done.stdout.splitlines() if ".py" in line]
    assert {line.split(":")[0] for line in collected} == {"tests/test_files.py"}


def test_what_leftovers_are_is_ignored_by_git() -> None:
    script = (ROOT / ".ci" / "leftovers").read_text()
    [line] = [line for line in script.splitlines() if line.startswith("for folder in ")]
    folders = line.removeprefix("for folder in ").removesuffix("; do").split()
    assert {f"/{name}/" for name in folders} <= set((ROOT / ".gitignore").read_text().split())
    assert {"runs", "data", "multirun", "outputs", ".hydra"} <= set(folders)


def test_packages_take_files_from_the_root_alone() -> None:
    """A pattern without a slash would take `runs/<name>/README.md` into the source package too."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    targets = build["targets"]
    assert all(pattern.startswith("/") for pattern in targets["sdist"]["include"])
    assert set(targets["wheel"]) == {"only-include", "sources"}  # never by pattern
