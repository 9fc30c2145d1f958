"""A resumed run is the uninterrupted one, bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import DictConfig

from pmnar.errors import InputError
from pmnar.methods import PMNAR
from pmnar.runtime.checkpoint import SafeCheckpointIO
from pmnar.tasks.resume import resume
from pmnar.tasks.train import train

Run = Callable[..., Path]
Rows = list[dict[str, str]]
ReadRows = Callable[[Path], Rows]


class Command(NamedTuple):
    """What the `command` fixture gives back."""

    code: int
    out: str
    err: str


# The rate falls after epoch 3: the schedule must go on too.
LONG = ("dataset.recipe.milestones=[3]", "dataset.recipe.learning_rate=0.1")
DROPOUT = "network.dropout=0.3"
"""The one draw that the networks make themselves."""


def go_on(place: Path, *overrides: str) -> Path:
    """Resume in this process; gives the run folder."""
    run = resume(place, overrides)
    train(run.config, run.folder, run.checkpoint)
    return run.folder


def content(folder: Path) -> dict[str, Any]:
    """The last checkpoint."""
    read: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return read


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Places at which two nested structures are not equal to the bit."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [place for key in a for place in differences(a[key], b[key], f"{at}.{key}")]
    if isinstance(a, list | tuple) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [place for i, (x, y) in pairs for place in differences(x, y, f"{at}.{i}")]
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    return [] if same else [at]


STATE = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "loops")


def assert_equal_runs(one: Path, other: Path, rows: ReadRows) -> None:
    """Networks, per-sample state, optimiser, schedule, progress, tables."""
    first, second = content(one), content(other)
    assert differences([first[key] for key in STATE], [second[key] for key in STATE]) == []
    for whole, resumed in zip(rows(one), rows(other), strict=True):
        # A method without an ordered pass of its own is measured where a run ends, here twice.
        extra = {key for key in whole if whole[key] == "" and key.startswith("detection_")}
        assert {k: v for k, v in resumed.items() if k not in extra} == {
            k: v for k, v in whole.items() if k not in extra
        }
    tables = [pq.read_table(folder / "samples.parquet") for folder in (one, other)]
    assert tables[0].equals(tables[1])
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    for key in ("accuracy", "detection", "recall_per_class", "weight_per_class", "epochs"):
        assert summaries[0][key] == summaries[1][key], key


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", ["pmnar", "ce", "nl"])
def test_resumed_run_is_the_uninterrupted_one(
    short_run: Run, rows: ReadRows, method: str, workers: int
) -> None:
    same = (*LONG, f"method={method}", f"data.num_workers={workers}")
    whole = short_run(*same, "trainer.max_epochs=4")
    halved = short_run(*same, "trainer.max_epochs=2")
    assert differences(content(whole), content(halved))
    assert go_on(halved, "trainer.max_epochs=4") == halved
    assert [row["epoch"] for row in rows(halved)] == ["1", "2", "3", "4"]
    assert float(rows(halved)[-1]["learning_rate"]) < float(rows(halved)[0]["learning_rate"])
    assert_equal_runs(whole, halved, rows)


def test_dropout_draws_what_it_would_have_drawn(short_run: Run, rows: ReadRows) -> None:
    whole = short_run(*LONG, DROPOUT, "trainer.max_epochs=4")
    halved = short_run(*LONG, DROPOUT, "trainer.max_epochs=2")
    go_on(halved, "trainer.max_epochs=4")
    assert_equal_runs(whole, halved, rows)


@pytest.mark.parametrize("dropout", ["network.dropout=0", DROPOUT])
def test_workers_change_nothing(short_run: Run, rows: ReadRows, dropout: str) -> None:
    alone, helped = (short_run(*LONG, dropout, f"data.num_workers={n}") for n in (0, 2))
    assert_equal_runs(alone, helped, rows)


@pytest.mark.parametrize("when", ["in the middle of epoch 3", "before the checkpoint of epoch 3"])
def test_run_that_died_goes_on(
    short_run: Run,
    rows: ReadRows,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    four = (*LONG, "trainer.max_epochs=4")
    whole = short_run(*four)
    with monkeypatch.context() as patch:
        if when.startswith("in"):
            _die_at_call(patch, PMNAR, "sample_losses", 2 * 4 + 2)
        else:
            _die_at_call(patch, SafeCheckpointIO, "save_checkpoint", 3)
        with pytest.raises(ConnectionError):
            short_run(*four)
    [died] = set(runs.rglob("*-*/")) & {p.parent for p in runs.rglob("config.yaml")} - {whole}
    assert content(died)["epoch"] == 1
    assert not (died / "summary.json").exists()
    go_on(died)
    assert_equal_runs(whole, died, rows)


def _die_at_call(patch: pytest.MonkeyPatch, kind: type, name: str, number: int) -> None:
    original, calls = getattr(kind, name), []

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise ConnectionError("the machine went down")
        return original(self, *args, **kwargs)

    patch.setattr(kind, name, counted)


def test_a_checkpoint_file_is_a_place_to_resume_from(short_run: Run, rows: ReadRows) -> None:
    whole = short_run(*LONG, "trainer.max_epochs=4")
    halved = short_run(*LONG, "trainer.max_epochs=2")
    assert go_on(halved / "checkpoints" / "last.ckpt", "trainer.max_epochs=4") == halved
    assert_equal_runs(whole, halved, rows)


def test_resuming_twice_changes_nothing(short_run: Run, rows: ReadRows) -> None:
    whole = short_run(*LONG, "trainer.max_epochs=4")
    parts = short_run(*LONG, "trainer.max_epochs=1")
    for epochs in (2, 4):
        go_on(parts, f"trainer.max_epochs={epochs}")
    assert_equal_runs(whole, parts, rows)


FORBIDDEN = (
    "dataset=cifar10",
    "method=ce",
    "noise=clean",
    "network=preact_resnet18",
    "seed=2",
    "network.width=16",
    "noise.rate=0.2",
    "dataset.train_subset=100",
    "method.loss=ce",
    "optimizer.lr=0.5",
    "scheduler=cosine",
)


def test_command_line_refuses_what_would_contradict_the_state(
    short_run: Run, command: Callable[..., Command]
) -> None:
    folder = short_run("trainer.max_epochs=1")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    for override in FORBIDDEN:
        found = command("train", f"resume={folder}", override)
        assert found.code == 2
        [line] = found.err.splitlines()
        assert line.startswith(f"error: {override} cannot be changed in a resumed run")
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_a_cosine_schedule_is_not_outlived(short_run: Run, command: Callable[..., Command]) -> None:
    folder = short_run("scheduler=cosine", "trainer.max_epochs=1")
    found = command("train", f"resume={folder}", "trainer.max_epochs=4")
    assert found.code == 2
    assert found.err.startswith("error: trainer.max_epochs must be at most 3 in this resumed run")


def test_command_line_shows_what_changed(
    short_run: Run, rows: ReadRows, command: Callable[..., Command]
) -> None:
    folder = short_run("trainer.max_epochs=1")
    same = ("method=pmnar", "seed=1", "network.width=8")
    found = command("train", f"resume={folder}", "trainer.max_epochs=2", "method.beta=0.5", *same)
    assert found.code == 0, found.err
    changed = [line for line in found.out.splitlines() if line.startswith("changed")]
    assert changed == ["changed  trainer.max_epochs: 1 → 2", "changed  method.beta: 1.0 → 0.5"]
    assert len(rows(folder)) == 2


def test_command_line_refuses_places_without_a_checkpoint(
    tmp_path: Path, command: Callable[..., Command]
) -> None:
    (tmp_path / "empty").mkdir()
    torn, foreign = tmp_path / "torn.ckpt", tmp_path / "foreign.ckpt"
    torn.write_bytes(b"PK\x03\x04 half a checkpoint")
    torch.save({"state_dict": {}}, foreign)
    reasons = {
        tmp_path / "none": "there is nothing at",
        tmp_path / "empty": "there is no checkpoint at",
        torn: "cannot be read as a checkpoint",
        foreign: "is not a checkpoint of this library",
    }
    for place, reason in reasons.items():
        found = command("train", f"resume={place}")
        assert (found.code, len(found.err.splitlines())) == (2, 1)
        assert reason in found.err
        assert str(place) in found.err


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (["method=ce"], "the checkpoint is of method pmnar, this run of ce"),
        (["noise=sym20"], "the checkpoint was trained on other labels"),
        (["noise.seed=3"], "the checkpoint was trained on other labels"),
        (["dataset.train_subset=150"], "the checkpoint was trained on other labels"),
        (["dataset.name=other"], "the checkpoint is of dataset digits, this run of other"),
    ],
)
def test_checkpoint_of_another_run_is_refused(
    short_run: Run,
    composed: Callable[..., DictConfig],
    short: tuple[str, ...],
    runs: Path,
    other: list[str],
    reason: str,
) -> None:
    folder = short_run("trainer.max_epochs=1")
    cfg = composed(*short, f"runs_dir={runs}", *other)
    with pytest.raises(InputError, match=reason):
        train(cfg, folder, folder / "checkpoints" / "last.ckpt")


def test_compare_and_resume_together_are_refused(
    tmp_path: Path, command: Callable[..., Command]
) -> None:
    found = command("train", f"resume={tmp_path}", "compare=ce")
    assert found.code == 2
    assert found.err.startswith("error: compare=ce cannot be combined with resume")
