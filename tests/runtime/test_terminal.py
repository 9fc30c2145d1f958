"""What is printed cannot end a run: letters a terminal lacks, a reader that went, a full disk."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import SHORT, environment
from rich.console import Console

from pmnar.runtime.terminal import PLAIN, SteadyRaw, steady_output

STEADY = "from pmnar.runtime.terminal import steady_output; steady_output()\n"
MUCH = STEADY + "for _ in range(30000): print('→ ' + 'x' * 80, flush=True)\nopen({!r}, 'w').close()"


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("ascii", b"a -> b x \\u732b \\ud83d\\udc31 \\udcff"),
        ("cp1252", b"a -> b \xd7 \\u732b \\ud83d\\udc31 \\udcff"),
        ("utf-8", "a → b × 猫 🐱 ".encode() + b"\xff"),
    ],
)
def test_letters_that_a_terminal_lacks_are_replaced(encoding: str, printed: bytes) -> None:
    """Bytes that were never letters stay what they are where the others are written too."""
    steady_output()
    assert "a → b × 猫 🐱 \udcff".encode(encoding, PLAIN) == printed


def test_what_was_json_stays_json() -> None:
    steady_output()
    text = json.dumps({"猫 🐱": "é"}, ensure_ascii=False)
    assert json.loads(text.encode("ascii", PLAIN)) == {"猫 🐱": "é"}


class _Full(io.RawIOBase):
    """Takes four bytes at once, eight in all."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: Any) -> int:
        piece = bytes(memoryview(data))[:4]
        if len(self.taken) == 8:
            raise OSError(28, "No space left on device")
        self.taken += piece
        return len(piece)


def test_what_does_not_fit_is_dropped() -> None:
    full = _Full()
    assert SteadyRaw(full).write(b"0123456789") == 10
    assert full.taken == b"01234567"
    with io.TextIOWrapper(io.BufferedWriter(SteadyRaw(full))) as stream:
        Console(file=stream).print("no error")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("place", ["| head -1", "> /dev/full", ">&-", "2>&1 | head -1"])
def test_a_reader_that_goes_ends_nothing(tmp_path: Path, place: str, unbuffered: str) -> None:
    """The process comes to its own end, with its own exit code and nothing on stderr."""
    end = tmp_path / "end"
    program = MUCH.format(str(end))
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {place}', sys.executable, program],
        env=environment() | {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert end.exists()


def test_a_run_on_a_plain_terminal_whose_reader_went(tmp_path: Path) -> None:
    """Progress bar, tables and arrows included."""
    command = [sys.executable, "-m", "src.train", *SHORT, f"runs_dir={tmp_path}"]
    command += ["trainer.enable_progress_bar=true", "trainer.max_epochs=1"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command,
        env=environment() | {"PYTHONIOENCODING": "ascii"},
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
        timeout=240,
    )
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert done.stderr.isascii()
    assert list(tmp_path.rglob("summary.json"))


def test_a_name_of_bytes_ends_nothing_where_the_output_is_closed() -> None:
    script = STEADY + "print('\\udcff', '\\u2192')\nimport sys; sys.stderr.write('to the end')"
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, script],
        env=environment(),
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"to the end")


@pytest.mark.parametrize(("place", "lost"), [("/dev/full", "True"), (os.devnull, "False")])
def test_what_a_full_disk_did_not_take_is_known(place: str, lost: str) -> None:
    """`evaluate` has nothing but what it prints, and says so."""
    script = (
        "import sys; from pmnar.runtime.terminal import lost_output, steady_output; "
        "steady_output(); print('figures'); sys.stderr.write(str(lost_output()))"
    )
    if not Path(place).exists():
        pytest.skip(f"{place} is not there")
    with Path(place).open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment(),
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.stderr == lost
