"""What a process needs of its surroundings, before PyTorch is loaded; imports nothing slow.

Containers start processes under a user without an entry in /etc/passwd, without a home, or with one
that cannot be written to. Each library asks for these in its own way, and each has its own way to
fail. So they are given here, once, as environment variables, which processes started by this one
have too.
"""

import ctypes
import getpass
import os
import platform
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from pmnar.errors import InputError

VARIABLES = {
    # Hydra would print and exit itself; with this it raises, and we say what was wrong in a line.
    "HYDRA_FULL_ERROR": "1",
    # Read once, when PyTorch is loaded, which is later. Threads that spin while they wait made a
    # run ten times slower where another process wanted the same cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    # A rank that finds another one gone says so itself, in a line instead of a C++ backtrace.
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
"""Set where the user has not set them."""
DOWNLOADED = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}
"""Folders of a cache that are of use where it can be read alone, and the variables for them."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""
LARGE = 2 * 2**30
"""Bytes of a process from which on it is worth while to give back what is free."""


def prepare_environment() -> None:
    """Set the variables that libraries go by: threads, user, home, caches, temporary files.

    What is there and can be used stays as it is. It never fails: `check_temporary` says what is
    wrong where no folder can be written to.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    if os.name != "posix":
        return
    _prepare_cores()
    if not _has_name():
        os.environ["USER"] = user_name()
    _find_temporary()
    with suppress(InputError):
        _prepare_folders()


def user_name() -> str:
    """The user's name, or `uid-<number>` for one that has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # which one is the Python version's
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "nobody"


def private_folder() -> Path:
    """A folder of this user alone for temporary files, the same for all of the user's processes.

    Raises:
        InputError: no folder can be written to.
    """
    # By number where there is one: a container's user may say that its name is another's.
    name = str(os.getuid()) if hasattr(os, "getuid") else user_name()
    root = check_temporary()
    for number in range(100):
        folder = root / (f"pmnar-{name}-{number}" if number else f"pmnar-{name}")
        with suppress(FileExistsError, PermissionError):  # somebody else's
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_ours(folder):
                return folder
    raise InputError(f"no folder of one's own can be made in {root}; set TMPDIR to another")


def check_temporary() -> Path:
    """Where temporary files go.

    Raises:
        InputError: no folder can be written to.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise InputError(
            "no folder for temporary files can be written to; set TMPDIR to one that can"
        ) from None


def _cores() -> int:
    """Cores that this process may use: a container's may be fewer than the machine's."""
    with suppress(AttributeError, OSError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads() -> None:
    """Start, for nothing, a few threads more than there are cores: libraries need as many.

    Where they cannot, one of them interrupts the process as if by Ctrl-C, others fail at the end
    of a run.

    Raises:
        InputError: this process may not start so many.
    """
    number, done, started = min(_cores(), 32) + 4, threading.Event(), list[threading.Thread]()
    try:
        for _ in range(number):
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise InputError(
            f"this process can start only {len(started)} threads, and needs {number}: "
            "raise the limit of processes (ulimit -u, or the container's)"
        ) from None
    finally:
        done.set()
        for thread in started:
            thread.join()


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, instead of asking the system for it anew each step.

    A step allocates and frees the same sizes again and again; where every free of a large block
    goes back to the system, its pages are zeroed and mapped anew in each step. What is kept
    grows where what comes next asks for other sizes: see `give_freed_memory_back`.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)  # no block is mapped by itself, to be unmapped when it is freed
    libc.mallopt(M_TRIM_THRESHOLD, -1)  # and nothing is given back from the heap's end


def give_freed_memory_back() -> None:
    """Give what is kept back to the system, where other sizes are about to be asked for.

    Between training and tests, say: the holes that one leaves do not fit the other's blocks. A
    small process keeps them: to be given pages anew would lengthen its short epochs.
    """
    if platform.libc_ver()[0] == "glibc" and _resident() > LARGE:
        ctypes.CDLL(None).malloc_trim(0)


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if told.is_file() else 0


def _prepare_cores() -> None:
    """Where a process may not ask which cores are its own, let no library ask.

    They go by the number of cores then, as they do on systems without that question.
    """
    if not hasattr(os, "sched_getaffinity"):
        return
    try:
        os.sched_getaffinity(0)
    except OSError:
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        delattr(os, "sched_getaffinity")


def _has_name() -> bool:
    try:
        return bool(getpass.getuser())
    except (KeyError, OSError, ImportError):
        return False


def _home() -> Path:
    """The user's home; `~` itself where there is neither HOME nor an entry."""
    return Path(os.path.expanduser("~"))  # noqa: PTH111 - the other one raises


def _find_temporary() -> None:
    """Let the first other folder be for temporary files, where none of the usual ones can be."""
    others = (_home() / ".cache", Path("/dev/shm"))
    usual = os.environ.get("TMPDIR")
    try:
        found = tempfile.gettempdir()
    except FileNotFoundError:
        found = next((str(each) for each in others if can_be_written(each)), "")
        tempfile.tempdir, usual = found or None, ""
        if found:
            Path(found).mkdir(parents=True, exist_ok=True)
    if found and usual not in (None, found):  # Python passes over what others would go by
        os.environ["TMPDIR"] = found


def _prepare_folders() -> None:
    """Home, caches, and the folder for temporary files, each where the user's own is of no use."""
    home = _home()
    if not home.is_absolute():
        home = private_folder()
        os.environ["HOME"] = str(home)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    if not can_be_written(cache):
        for name, folder in DOWNLOADED.items():
            if (cache / folder).is_dir():
                os.environ.setdefault(name, str(cache / folder))
        os.environ["XDG_CACHE_HOME"] = str(private_folder() / "cache")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if not can_be_written(Path(os.environ.get("MPLCONFIGDIR") or config)):
        # Else Matplotlib warns, and builds its list of fonts anew in each process.
        os.environ["MPLCONFIGDIR"] = str(private_folder() / "matplotlib")


def can_be_written(folder: Path) -> bool:
    """Whether files can be made in a folder, which may itself have to be made first."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _is_ours(folder: Path) -> bool:
    if folder.is_symlink() or not os.access(folder, os.W_OK | os.X_OK):
        return False
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
