"""How long a run takes, as it is told."""

from types import SimpleNamespace
from typing import Any

import pytest
from toy import make_data, make_method

from pmnar.tasks import pace
from pmnar.tasks.pace import MEASURED, SETTLING, SayLength, Stopwatch, duration, share_of_passes


class Clock:
    """A clock that goes on by a second each time it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_durations_are_said_as_people_say_them() -> None:
    said = [duration(s) for s in (0.031, 9.9, 99, 100, 5_940, 6_000, 172_000, 200_000)]
    assert said == [
        "0.031 s",
        "9.9 s",
        "99 s",
        "2 minutes",
        "99 minutes",
        "1 h 40 min",
        "47 h 47 min",
        "2.3 days",
    ]


def said_after(
    steps: int, seconds: float, epochs: int, capsys: pytest.CaptureFixture[str], **more: Any
) -> str:
    """What is told after so many steps of so many seconds each."""
    data = make_data()
    method = make_method(data)
    trainer: Any = SimpleNamespace(
        is_global_zero=True, num_training_batches=100, max_epochs=epochs, current_epoch=0
    )
    for key, value in (more | {"datamodule": data}).items():
        setattr(trainer, key, value)
    watch, clock = SayLength("do less"), Clock(seconds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "time", SimpleNamespace(perf_counter=clock))
        watch.on_train_epoch_start(trainer, method)
        for step in range(steps):
            watch.on_train_batch_end(trainer, method, None, None, step)
    return capsys.readouterr().out


def test_a_run_of_over_an_hour_says_so_once_and_early(capsys: pytest.CaptureFixture[str]) -> None:
    enough = SETTLING + MEASURED
    assert said_after(enough - 1, 1.0, 100, capsys) == ""
    told = said_after(enough + 50, 1.0, 100, capsys)
    assert told.count("\n") == 1
    data = make_data()
    epoch = 100 * (1 + share_of_passes(make_method(data), data))
    assert f"about {duration(epoch * 100)} on this machine ({duration(epoch)} an epoch" in told
    assert told.endswith("do less\n")
    assert said_after(enough, 0.1, 100, capsys) == ""  # a quarter of an hour
    assert said_after(enough, 1.0, 100, capsys, current_epoch=90) == ""  # most of it is behind
    assert said_after(enough, 1.0, 100, capsys, is_global_zero=False) == ""
    assert said_after(SETTLING + 1, 60.0, 100, capsys) != ""  # a step that tells enough


def test_passes_count_an_image_a_third_of_its_training() -> None:
    data = make_data()
    method = make_method(data)
    sizes = {name: len(split) for name, split in data.splits.items()}
    images = sizes.pop("train")
    tested = sum(sizes[name] for name in data.test_names)
    assert share_of_passes(method, data) == pytest.approx((images + tested) / images / 6)


def test_a_stopwatch_tells_steps_from_what_is_between_epochs() -> None:
    nothing: Any = None
    watch = Stopwatch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "time", SimpleNamespace(perf_counter=Clock(1.0)))
        for _ in range(2):
            watch.on_train_epoch_start(nothing, nothing)
            for step in range(3):
                watch.on_train_batch_end(nothing, nothing, None, None, step)
        watch.on_train_end(nothing, nothing)
    assert watch.steps == [[1.0] * 3] * 2
    assert watch.between == [1.0, 1.0]
