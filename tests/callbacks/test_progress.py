"""The progress bar, by a clock that goes on by so much at each look."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.live import Live
from toy import ABLATIONS, Watched, fit, make_data, make_method

from pmnar.callbacks.progress import PERIOD, ProgressBar
from pmnar.callbacks.tables import RunTables

EPOCHS = 12
SHOWING: dict[str, Any] = {"enable_progress_bar": True, "enable_checkpointing": True}


class Counted(ProgressBar):
    """A bar that goes by a clock of its own, and notes when it drew and asked for metrics."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tick: float) -> None:
        super().__init__(self.look)
        self.tick, self.now = tick, 0.0
        self.asked: list[float] = []
        self.drawn: list[float] = []
        refresh = Live.refresh

        def counted(live: Live) -> None:
            self.drawn.append(self.now)
            refresh(live)

        monkeypatch.setattr(Live, "refresh", counted)

    def look(self) -> float:
        """The time; it is later after each look."""
        self.now += self.tick
        return self.now

    def get_metrics(self, *arguments: Any) -> dict[str, Any]:
        self.asked.append(self.now)
        return super().get_metrics(*arguments)


def train(bar: ProgressBar, folder: Path) -> Watched:
    """A run with the bar and the tables."""
    data = make_data()
    method = make_method(data, **ABLATIONS["ce"])
    tables = RunTables(folder, {}, {"true": None, "index": None, "paths": None})
    fit(method, data, EPOCHS, [bar, tables], **SHOWING)
    return method


@pytest.mark.parametrize("tick", [0.01, 0.04, 0.2, 2.0])
def test_it_draws_at_most_twice_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tick: float
) -> None:
    bar = Counted(monkeypatch, tick)
    train(bar, tmp_path)
    *paced, _ = bar.drawn  # all but the last, which is the end
    assert len(paced) > 1
    for before, after in pairwise(paced):
        assert after - before >= PERIOD - 1e-9


def test_between_two_drawings_it_asks_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = Counted(monkeypatch, 0.01)
    train(bar, tmp_path)
    assert len(bar.asked) == len(bar.drawn) < EPOCHS


def test_the_last_line_has_the_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    method = train(Counted(monkeypatch, 0.01), tmp_path)
    accuracies = [f"{row['accuracy_first']:.3f}" for row in method.rows]
    assert accuracies[-1] != accuracies[-2]
    [line] = capsys.readouterr().out.strip().splitlines()
    assert line.startswith(f"Epoch {EPOCHS}/{EPOCHS} ")
    assert re.findall(r"accuracy (\S+)", line) == [accuracies[-1]]


def test_a_further_rank_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Counted(monkeypatch, 1)
    bar.disable()
    train(bar, tmp_path)
    assert bar.drawn == bar.asked == []


def test_testing_has_a_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data()
    method = make_method(data, **ABLATIONS["ce"])
    bar = Counted(monkeypatch, 1)
    trainer = fit(method, data, 1, [bar], enable_progress_bar=True)
    capsys.readouterr()
    trainer.test(method, datamodule=data, verbose=False)
    assert capsys.readouterr().out.startswith("Testing ")


def test_an_error_leaves_the_terminal_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(RunTables):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            raise RuntimeError("the power went")

    bar, data = Counted(monkeypatch, 1), make_data()
    method = make_method(data, **ABLATIONS["ce"])
    with pytest.raises(RuntimeError, match="the power went"):
        fit(method, data, 2, [bar, Failing(tmp_path, {}, {})], **SHOWING)
    assert bar.drawn
    assert bar.progress is None
