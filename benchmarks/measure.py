"""What all benchmarks share: contestants that take turns, and results with their circumstances."""

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pmnar.files import write_text
from pmnar.runtime.facts import hardware, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("benchmarks/results")
ROUNDS = 5
"""The fewest rounds of which a number is published."""

Contestant = Callable[[], object]
"""What is timed; if it returns a float, that is taken for its seconds in place of the clock's."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Seconds:
    """A contestant's seconds, a value a round, the warm-up round left out."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    def over(self, other: "Seconds") -> "Ratio":
        """How many times as long as `other`: of the medians, and the spread over the rounds."""
        each = sorted(mine / its for mine, its in zip(self.values, other.values, strict=True))
        return Ratio(self.median / other.median, each[0], each[-1])

    def plain(self) -> Result:
        """As it is written to a result file."""
        low, high = min(self.values), max(self.values)
        return {"median": self.median, "least": low, "most": high, "rounds": list(self.values)}


@dataclass(frozen=True)
class Ratio:
    """The ratio of two medians; the least and the most of the rounds' own ratios."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"

    def plain(self) -> Result:
        """As it is written to a result file."""
        return {"median": self.median, "least": self.least, "most": self.most}


def interleaved(
    contestants: Mapping[str, Contestant], rounds: int = ROUNDS, warm_up: int = 1
) -> dict[str, Seconds]:
    """The seconds of all contestants, which take turns, round by round, in this process.

    So a machine that others use too slows all of them alike, and a ratio of the same round is fair.

    Args:
        contestants: by name, in the order in which they take their turn.
        rounds: how many count; at least `ROUNDS` for what is published.
        warm_up: rounds before those that do not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(warm_up + rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            given = run()
            took = time.perf_counter() - start
            seconds[name].append(given if isinstance(given, float) else took)
    return {name: Seconds(tuple(values[warm_up:])) for name, values in seconds.items()}


# -- results ---------------------------------------------------------------------------------------


def publish(
    name: str,
    result: Mapping[str, Any],
    table: str,
    folder: Path = RESULTS,
    words: Sequence[str] | None = None,
) -> None:
    """Write `folder/NAME.json` and `NAME.md`, and print the latter.

    Both have what numbers must be published with, see `circumstances`.

    Args:
        name: of the files, without ending.
        result: what was measured, in plain values.
        table: the same as Markdown, for people; `source` is added below it.
        folder: made where it is not.
        words: the arguments; None for those of the command line.
    """
    report = circumstances(name, words) | dict(result)
    text = f"{table.rstrip()}\n\n{source(report)}\n"
    write_report(folder / f"{name}.json", report)
    write_text(folder / f"{name}.md", text)
    print(text, flush=True)


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a result file, whole or not at all; its folder is made where it is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def stored(path: Path) -> Result:
    """What was written to a result file; nothing where there is none."""
    found: Result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def keep(stored: Path, result: Result) -> None:
    """Append a result to a file of one a line, so that it survives whatever comes."""
    stored.parent.mkdir(parents=True, exist_ok=True)
    with stored.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def results(stored: Path) -> list[Result]:
    """What such a file holds so far."""
    if not stored.is_file():
        return []
    return [json.loads(line) for line in stored.read_text(encoding="utf-8").splitlines()]


def circumstances(name: str, words: Sequence[str] | None = None) -> Result:
    """Command, date, commit, threads, hardware and versions; no commit where there is no git."""
    found = {
        "command": command(name, words),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "threads": torch.get_num_threads(),
        "hardware": hardware(),
        "versions": versions(),
    }
    return {key: value for key, value in found.items() if value is not None}


def command(name: str, words: Sequence[str] | None = None) -> str:
    """What was called, as it is typed, with what the environment tells the allocator and OpenMP.

    Of an absolute path its last part: where it stands on a machine is nobody's concern.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name if spec is not None else ""
    if not module.startswith("benchmarks."):
        module = f"benchmarks.{name}"
    set_to = [
        f"{key}={value}" for key, value in os.environ.items() if key.startswith(("MALLOC_", "OMP_"))
    ]
    typed = sys.argv[1:] if words is None else words
    return " ".join([*set_to, f"python -m {module}", *(shlex.quote(nowhere(w)) for w in typed)])


def nowhere(word: str) -> str:
    """A word of a command; of an absolute path, alone or as a key's value, its last part."""
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{Path(value).name if Path(value).is_absolute() else value}"


def commit() -> str | None:
    """The commit that was measured, and whether the code had been changed since."""

    def git(*words: str) -> str | None:
        line = ["git", "--no-optional-locks", *words]
        try:
            done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    code = ("src", "conf", "benchmarks", ":(exclude)benchmarks/results")
    head = git("rev-parse", "--short", "HEAD")
    return head and head + " with changes" * bool(git("status", "--porcelain", "--", *code))


def source(report: Mapping[str, Any]) -> str:
    """Where the numbers come from, on a line."""
    machine = report["hardware"]
    packages = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    circumstances = [
        f"commit {report['commit']}" if "commit" in report else "",
        machine.get("gpu", ""),
        f"{machine['cpu']}, {machine['cores']} cores",
        f"{report['threads']} thread(s)" if "threads" in report else "",
    ]
    place = ", ".join(each for each in circumstances if each)
    return f"`{report['command']}`, {report['date']}, {place} ({packages})."


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "---") -> str:
    """A Markdown table."""
    return "\n".join(line(cells) for cells in (head, [align] * len(head), *rows))


def line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def against(value: float, bar: float, at_most: bool) -> str:
    """Whether a number keeps its bar, in a word."""
    kept = value <= bar if at_most else value >= bar
    return f"{'≤' if at_most else '≥'} {bar:g}: {'yes' if kept else 'no'}"
