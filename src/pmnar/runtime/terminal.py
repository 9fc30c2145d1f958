"""Standard output and error that cannot end a run, whatever they lead to.

A terminal may know fewer letters than are printed, the reader of a pipe may have gone, the disk
under a redirected output may be full: none of it is a reason to lose hours of training.
"""

import codecs
import io
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

PLAIN = "pmnar-plain"
"""The name under which `_stand_in` is known to Python's encoders."""
STAND_INS = {
    **{"→": "->", "×": "x", "–": "-", "—": "-", "…": "...", "•": "|"},
    **{"’": "'", "‘": "'", "“": '"', "”": '"', "·": ".", "\xa0": " "},
}
PATIENCE = 5.0
"""Seconds to wait for a reader that takes nothing just now, before what is said is dropped."""


class SteadyRaw(io.RawIOBase):
    """Bytes to where `raw` writes them, and to nowhere where it cannot.

    Once a write has failed the rest is dropped: half a line, later, would help nobody.

    Attributes:
        error: with which a write has failed, or None.
    """

    def __init__(self, raw: Any) -> None:
        super().__init__()
        self.raw = raw
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether a person is watching."""
        return bool(self.raw.isatty())

    def fileno(self) -> int:
        """The descriptor below."""
        return int(self.raw.fileno())

    def write(self, data: Any) -> int:
        """Write all of `data`, or drop what is left of it."""
        left = memoryview(data).cast("B")
        length = len(left)
        while len(left) and self.error is None:
            try:
                left = left[self._some(left) :]
            except OSError as error:
                self.error = error
        return length

    def _some(self, data: memoryview) -> int:
        count: int | None = self.raw.write(data)
        if count is None:  # a descriptor that does not block, and is full
            select.select([], [self.raw], [], PATIENCE)
            count = self.raw.write(data)
        if count is None:
            raise BlockingIOError
        return count


def steady_output() -> None:
    """Let nothing that this process prints raise; doing it twice changes nothing.

    Letters that the terminal lacks are replaced: by a stand-in where there is one, else as
    JSON escapes them. Streams that somebody else has put in the place of Python's are left alone.
    """
    codecs.register_error(PLAIN, _stand_in)
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:  # closed by whoever started this
            setattr(sys, name, _nowhere())
        elif stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _steady(stream))


def lost_output() -> bool:
    """Whether something printed could not be written, though somebody waits for it.

    A reader who has gone (`| head`) has what they wanted.
    """
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return (
        isinstance(raw, SteadyRaw)
        and raw.error is not None
        and not isinstance(raw.error, BrokenPipeError)
    )


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8", errors=PLAIN)


def _steady(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    with suppress(OSError):
        stream.flush()
    raw = SteadyRaw(getattr(stream.buffer, "raw", stream.buffer))
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=PLAIN,
        line_buffering=stream.line_buffering or stream.isatty(),
        write_through=stream.write_through,
    )


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is printed for letters that an encoding lacks: names that are bytes, as these bytes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    with suppress(UnicodeEncodeError):
        if error.encoding.lower().replace("-", "") == "utf8":
            return letters.encode("utf-8", "surrogateescape"), error.end
    return "".join(STAND_INS.get(letter) or _escaped(letter) for letter in letters), error.end


def _escaped(letter: str) -> str:
    """As JSON escapes it, so that what was JSON stays so."""
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
