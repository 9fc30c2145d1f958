"""Files stay short enough to be read at once: a longer one is cut by subject."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 300
FILES = [path for room in ("src", "tests", "benchmarks") for path in (ROOT / room).rglob("*.py")]


def test_files_were_found() -> None:
    rooms = {path.relative_to(ROOT).parts[0] for path in FILES}
    assert rooms == {"src", "tests", "benchmarks"}
    assert Path(__file__) in FILES


@pytest.mark.parametrize("room", ["src", "tests", "benchmarks"])
def test_no_file_is_too_long(room: str) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in FILES
        if path.is_relative_to(ROOT / room)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
