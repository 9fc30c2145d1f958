"""Run folders."""

import secrets
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from processes import environment

from pmnar.errors import InputError
from pmnar.runtime import run_folder
from pmnar.runtime.run_folder import RANKS, is_first_process, locked, make_run_folder


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


def test_names_sort_as_runs_were_begun_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is set back; or the newest folder is of a version that wrote local time."""
    hours = iter([12, 9, 9, 13])

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Clock":
            assert tz is UTC
            return cls(2026, 10, 25, next(hours))

    monkeypatch.setattr(run_folder, "datetime", Clock)
    folders = [make_run_folder(tmp_path, "digits", "sym50", "pmnar") for _ in range(4)]
    times = [folder.name.rpartition("-")[0].partition("-")[2] for folder in folders]
    assert times == ["120000", "120001", "120002", "130000"]
    assert sorted(folders) == folders


def test_other_folders_have_no_time(tmp_path: Path) -> None:
    for name in ("99999999-999999-x", "zoo", "20991301-000000-x", "20990101-000000"):
        (tmp_path / "digits" / "sym50" / "pmnar" / name).mkdir(parents=True)
    folder = make_run_folder(tmp_path, "digits", "sym50", "pmnar")
    assert folder.name < "2099"


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


def test_a_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(InputError, match=r"runs_dir=.*runs: no folder can be made there: Not a"):
        make_run_folder(tmp_path / "runs", "digits", "sym50", "pmnar")


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


@pytest.mark.parametrize(
    ("set_by_launcher", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "4", "SLURM_LOCALID": "0"}, False),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # started within an interactive job
    ],
)
def test_one_rank_is_the_first(
    monkeypatch: pytest.MonkeyPatch, set_by_launcher: dict[str, str], first: bool
) -> None:
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in set_by_launcher.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first


def test_a_folder_is_held_by_one_process_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "HANDOVER", 0.2)
    script = (
        "import sys, time; from pathlib import Path; from pmnar.runtime.run_folder import locked"
    )
    script += "\nwith locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is training in"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
