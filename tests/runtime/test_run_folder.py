"""Run folders."""

import secrets
from datetime import datetime
from pathlib import Path

import pytest

from pmnar.runtime import run_folder
from pmnar.runtime.run_folder import FOLDER_VARIABLE, inherited_run_folder, make_run_folder


def test_runs_of_the_same_second_never_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Stopped":
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(run_folder, "datetime", Stopped)
    folders = [make_run_folder(tmp_path, "digits", "sym50", "pmnar") for _ in range(50)]
    assert len(set(folders)) == 50
    for folder in folders:
        assert folder.is_dir()
        assert folder.parent == tmp_path / "digits" / "sym50" / "pmnar"
        assert folder.name.startswith("20260102-030405-")


def test_a_folder_that_exists_is_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: "same")

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Stopped":
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(run_folder, "datetime", Stopped)
    make_run_folder(tmp_path, "digits", "sym50", "pmnar")
    with pytest.raises(FileExistsError):
        make_run_folder(tmp_path, "digits", "sym50", "pmnar")


@pytest.mark.parametrize(
    "name", ["a/b", "a\\b", "a b:c*?", "../up", "..", ".", "ünï", "sym50+", "a\nb", "x" * 100]
)
def test_odd_characters_stay_one_folder_below_the_root(tmp_path: Path, name: str) -> None:
    root = tmp_path / "a" / "b" / "c" / "runs"
    folder = make_run_folder(root, name, name, name)
    assert folder.resolve().relative_to(root.resolve()).parts[3:] == (folder.name,)


def test_a_relative_root_gives_an_absolute_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_run_folder(Path("runs"), "digits", "sym50", "pmnar")
    assert folder.is_absolute()
    assert folder.is_relative_to(tmp_path)


@pytest.mark.parametrize(("rank", "inherits"), [(None, False), ("0", False), ("1", True)])
def test_further_ranks_inherit_the_folder(
    rank: str | None, inherits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "/somewhere/run")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert inherited_run_folder() == (Path("/somewhere/run") if inherits else None)


def test_nothing_is_inherited_where_nothing_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert inherited_run_folder() is None
