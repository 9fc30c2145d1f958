"""Where the seconds before the first step and after the last epoch go.

`python -m benchmarks.startup` runs the default digits run, cut to two epochs, in processes of their
own, as `python -m src.train` does, and prints the median seconds of every part. The parts follow
each other; only what lies between the first step and the end of the last epoch is left out.
"""

import time

STARTED = time.time()  # before anything else is imported

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

MARKS = "PMNAR_MARKS"
"""The variable that tells a child where to write its times."""
RUN = ("trainer.max_epochs=2", "method.warmup_epochs=1")
BEFORE = (
    *("interpreter", "import hydra", "compose the configuration"),
    *("import torch", "import torchvision", "import torchmetrics and lightning", "import pmnar"),
    *("data and noise", "method and trainer", "set-up and first step"),
)
TRAINING = "training"
AFTER = ("samples and summary", "figures", "report", "exit")
ANSWERS = {"help": ("--help",), "a mistyped key": ("method.betta=1",)}
LIMIT = 6.0
"""Seconds that the parts before may take together."""


class Marks:
    """The time at which each part ended."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = [("interpreter", STARTED)]

    def end(self, part: str) -> None:
        """The part ends now, unless it has ended before."""
        if part not in dict(self.times):
            self.times.append((part, time.time()))

    def around(self, owner: Any, name: str, before: str | None, after: str | None) -> None:
        """Let a part end before a function is called, and another when it is done."""
        function = getattr(owner, name)

        def wrapped(*arguments: Any, **settings: Any) -> Any:
            if before is not None:
                self.end(before)
            result = function(*arguments, **settings)
            if after is not None:
                self.end(after)
            return result

        setattr(owner, name, wrapped)


def child() -> None:
    """A training command that leaves the times of its parts."""
    from pmnar.tasks import cli, command

    marks = Marks()
    marks.end("import hydra")
    loading = command.loading

    @contextmanager
    def watched() -> Iterator[None]:
        marks.end("compose the configuration")
        with loading():
            import_libraries(marks)
            yield
        marks.end("import pmnar")
        watch_the_run(marks)

    command.loading = watched
    cli.train()
    Path(os.environ[MARKS]).write_text(json.dumps(marks.times), encoding="utf-8")


def import_libraries(marks: Marks) -> None:
    """In the order in which they need each other."""
    import torch  # noqa: F401

    marks.end("import torch")
    import torchvision  # noqa: F401

    marks.end("import torchvision")
    import lightning  # noqa: F401
    import torchmetrics  # noqa: F401

    marks.end("import torchmetrics and lightning")


def watch_the_run(marks: Marks) -> None:
    """Note when the run gets to its data, to its trainer, through its first step, to its end."""
    import lightning as L

    from pmnar.tasks import train

    class Watch(L.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            marks.end("set-up and first step")

        def on_train_end(self, *_: Any) -> None:
            marks.end(TRAINING)

    def draw(folder: Path, data: Any) -> None:
        from pmnar import figures

        marks.around(figures, "write_figures", None, "figures")
        marks.around(figures, "write_report", None, "report")
        drawing(folder, data)

    callbacks, drawing = train.run_callbacks, train.draw
    marks.around(train, "load_data", None, "data and noise")
    marks.around(L.Trainer, "fit", "method and trainer", "samples and summary")
    train.run_callbacks = lambda *arguments: [*callbacks(*arguments), Watch()]
    train.draw = draw


# -- the process that starts the others ------------------------------------------------------------


def parts_of_a_run(folder: Path) -> dict[str, float]:
    """The seconds of each part of one run, whose folder is below `folder`."""
    marks = folder / "marks.json"
    command = ["benchmarks.startup", "--child", *RUN, f"runs_dir={folder / 'runs'}"]
    started = time.time()
    call(command, {MARKS: str(marks)})
    ended = time.time()
    times = [*json.loads(marks.read_text(encoding="utf-8")), ("exit", ended)]
    seconds = {}
    for part, at in times:
        seconds[part], started = at - started, at
    missing = {*BEFORE, TRAINING, *AFTER} - seconds.keys()
    assert not missing, missing
    return seconds


def call(command: list[str], variables: dict[str, str] | None = None, code: int = 0) -> float:
    """The seconds of a Python module run in a process of its own, which must end with `code`."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=os.environ | (variables or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of every part and answer, a value a round; a first round does not count."""
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            seconds = parts_of_a_run(Path(folder))
        seconds |= {
            name: call(["src.train", *words], code=0 if name == "help" else 2)
            for name, words in ANSWERS.items()
        }
        seconds["before the first step"] = sum(seconds[part] for part in BEFORE)
        seconds["after the last epoch"] = sum(seconds[part] for part in AFTER)
        if number:
            for name, value in seconds.items():
                found.setdefault(name, []).append(value)
    return found


def table(found: dict[str, list[float]], against: Callable[[float, float, bool], str]) -> str:
    """The medians, as Markdown."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    before, after = medians["before the first step"], medians["after the last epoch"]
    verdict = against(before, LIMIT, True)
    lines = [
        "# Start-up and end of the default run",
        "",
        f"Median seconds of {len(found['exit'])} runs of `python -m src.train {' '.join(RUN)}`.",
        "",
        "| before the first step | s |",
        "|---|---:|",
        *(f"| {part} | {medians[part]:.2f} |" for part in BEFORE),
        f"| **together** ({verdict}) | **{before:.2f}** |",
        "",
        "| after the last epoch | s |",
        "|---|---:|",
        *(f"| {part} | {medians[part]:.2f} |" for part in AFTER),
        f"| **together** | **{after:.2f}** |",
        "",
        "| answer to | s |",
        "|---|---:|",
        *(f"| {name} | {medians[name]:.2f} |" for name in ANSWERS),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/startup"))
    arguments = parser.parse_args()
    # Here, since a child has no use for it: it imports PyTorch.
    from benchmarks.measure import against, publish

    found = measure(arguments.rounds)
    result = {"run": RUN, "limit": LIMIT, "seconds": found}
    publish(arguments.out.name, result, table(found, against), arguments.out.parent)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.argv.pop(1)
        child()
    else:
        main()
