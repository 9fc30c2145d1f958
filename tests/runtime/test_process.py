"""A process finds a name, a home, caches and a temporary folder wherever it is started."""

import getpass
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from pmnar.errors import InputError
from pmnar.runtime import process

ROOT = Path(__file__).parents[2]
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
FOLDERS = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
LIBRARIES = ("HF_HOME", "TORCH_HOME", "TORCHINDUCTOR_COMPILE_THREADS")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variables, and temporary files in a folder of the test."""
    for name in (*NAMES, *FOLDERS, *LIBRARIES, *process.VARIABLES):
        monkeypatch.setenv(name, "")  # so that what is set is taken back
        monkeypatch.delenv(name)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


def no_entry(*_: object) -> str:
    raise KeyError("getpwuid(): uid not found: 12345")


def test_a_user_without_a_passwd_entry_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    process.prepare_environment()
    assert getpass.getuser() == f"uid-{os.getuid()}"


def test_a_user_without_a_home_has_one(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    process.prepare_environment()
    assert Path.home() == bare / f"pmnar-{os.getuid()}"
    assert process.can_be_written(Path.home() / ".cache")


@pytest.mark.parametrize("home", ["a file", "a file/below"])
def test_a_home_that_cannot_be_written_gives_way_to_a_cache_that_can(
    home: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bare: Path
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / home))
    process.prepare_environment()
    own = bare / f"pmnar-{os.getuid()}"
    assert os.environ["XDG_CACHE_HOME"] == str(own / "cache")
    assert os.environ["MPLCONFIGDIR"] == str(own / "matplotlib")
    assert os.environ["HOME"] == str(tmp_path / home)


def test_what_can_be_used_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    process.prepare_environment()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert os.environ["USER"] == "somebody"
    assert not {"XDG_CACHE_HOME", "MPLCONFIGDIR", "TMPDIR", *LIBRARIES} & {*os.environ}


def test_weights_in_a_cache_that_can_only_be_read_are_still_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(process, "can_be_written", lambda folder: tmp_path not in folder.parents)
    process.prepare_environment()
    assert os.environ["HF_HOME"] == str(tmp_path / ".cache" / "huggingface")
    assert "TORCH_HOME" not in os.environ


def test_temporary_files_go_where_they_can(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    with pytest.raises(InputError, match="set TMPDIR"):
        process.check_temporary()
    process.prepare_environment()
    assert os.environ["TMPDIR"] == str(process.check_temporary()) == str(tmp_path / ".cache")


def test_the_private_folder_is_never_anothers(bare: Path) -> None:
    (bare / "elsewhere").mkdir()
    (bare / f"pmnar-{os.getuid()}").symlink_to(bare / "elsewhere")
    found = process.private_folder()
    assert found == bare / f"pmnar-{os.getuid()}-1" == process.private_folder()
    assert stat.S_IMODE(found.stat().st_mode) == 0o700


def test_a_user_without_permission_to_ask_for_cores_compiles_with_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_: int) -> set[int]:
        raise PermissionError

    monkeypatch.setattr(os, "sched_getaffinity", refused)
    process.prepare_environment()
    assert os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == "1"
    assert not hasattr(os, "sched_getaffinity")


def test_a_limit_of_threads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    process.check_threads()
    start, left = threading.Thread.start, [2]

    def limited(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(InputError, match="only 2 threads, and needs"):
        process.check_threads()


def test_nothing_slow_is_imported() -> None:
    code = "import sys, pmnar.runtime.process; print({'torch', 'numpy', 'hydra'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "src"
    )
    assert done.stdout.strip() == "set()"
