"""Several ranks train, measure and test what one process does, and hold no more."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from toy import ABLATIONS, FewDigits, NoNorm, TinyNet, Watched, fit, make_data, make_method, state

from pmnar.data import ImageData, Split
from pmnar.methods import PMNAR
from pmnar.methods.measurement import Measurement
from pmnar.samples.complementary import ComplementaryLabels

pytestmark = pytest.mark.ddp
SIZE = 51  # in batches of 20: 3 ordered batches, the last of 11
TWO: dict[str, Any] = {**ABLATIONS["pmnar"], "warmup_epochs": 0}


def devices(ranks: int) -> dict[str, Any]:
    """Settings of a Trainer on so many processes."""
    if ranks == 1:
        return {}
    strategy = DDPStrategy(broadcast_buffers=False, start_method="fork")
    return {"devices": ranks, "strategy": strategy}


class Notes(Callback):
    """Writes, in each rank, what it finds, since a rank's process leaves only its networks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        torch.set_num_threads(1)  # Lightning gives several processes other numbers than one

    def write(self, trainer: L.Trainer, found: Any) -> None:
        torch.save(found, self.folder / f"{trainer.world_size}-{trainer.global_rank}.pt")

    def read(self, ranks: int) -> list[Any]:
        paths = [self.folder / f"{ranks}-{rank}.pt" for rank in range(ranks)]
        return [torch.load(path, weights_only=True) for path in paths]


def test_two_ranks_equal_one_process() -> None:
    """Also where the last batch is odd, and where a rank has no batch of the ordered pass."""
    states = []
    for ranks in (1, 2):
        data = make_data(source=FewDigits(SIZE), eval_batch_size=512)
        method = make_method(data, NoNorm, **ABLATIONS["pmnar"])
        fit(method, data, epochs=3, **devices(ranks))
        states.append(state(method))
    one, two = states
    assert torch.equal(one["complementary.bits"], two["complementary.bits"])
    assert not torch.equal(one["sample_weights"], torch.ones_like(one["sample_weights"]))
    close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-6)
    close(one, two)


# -- the ordered pass -----------------------------------------------------------------------------


class Measured(Notes):
    """What the first ordered pass left, before anything was trained."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, PMNAR)
        kept = {name: value for name, value in state(pl_module).items() if "networks" not in name}
        kinds = pl_module.ordered_pass(
            lambda said, batch: {
                "bool": said["first"].probabilities > 0.1,
                "int16": said["first"].probabilities.argmax(-1).short(),
                "bfloat16": said["first"].probabilities.bfloat16(),
                "index": batch.indices,
            }
        )
        record = {k: torch.tensor(v) for k, v in pl_module.record.items() if "min_" in k}
        assert pl_module.measurement is not None
        self.write(trainer, kept | kinds | record | pl_module.measurement.rows)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """Two networks that have learned something, with BatchNorm's statistics."""
    data = make_data(source=FewDigits(SIZE))
    method = make_method(data, TinyNet, **TWO)
    fit(method, data, epochs=2)
    return state(method.networks)


@pytest.mark.parametrize("eval_batch_size", [20, 512])
def test_an_ordered_pass_gives_every_rank_a_single_process_s_values_to_the_bit(
    eval_batch_size: int, trained: dict[str, Tensor], tmp_path: Path
) -> None:
    """With an uneven last block, and where all ranks but one have none."""
    notes = Measured(tmp_path)
    for ranks in (1, 2, 3):
        data = make_data(source=FewDigits(SIZE), eval_batch_size=eval_batch_size)
        method = make_method(data, TinyNet, **TWO)
        method.networks.load_state_dict(trained)
        fit(method, data, callbacks=[notes], **devices(ranks))
    [one] = notes.read(1)
    assert one.keys() > {"confidence second", "prediction ensemble", "sample_weights"}
    assert one.keys() > {"min_confidence_first", "complementary.bits", "labels", "bool"}
    assert torch.equal(one["index"], torch.arange(SIZE))
    assert one["bool"].dtype == torch.bool
    assert one["sample_weights"].unique().numel() > SIZE
    for of_rank in notes.read(2) + notes.read(3):
        assert of_rank.keys() == one.keys()
        for name, value in one.items():
            assert torch.equal(of_rank[name], value), name


# -- memory ---------------------------------------------------------------------------------------


def tensors_of(thing: Any, seen: set[int]) -> Iterator[Tensor]:
    """All tensors that an object holds, however deep; each storage once."""
    if id(thing) in seen or isinstance(thing, L.Trainer):
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, dict):
        for value in [*thing.values()]:
            yield from tensors_of(value, seen)
    elif isinstance(thing, list | tuple | set):
        for value in thing:
            yield from tensors_of(value, seen)
    elif isinstance(thing, PMNAR | nn.ModuleDict | ComplementaryLabels | Measurement):
        yield from tensors_of(vars(thing), seen)


class Held(Notes):
    """The bytes of the tensors of a row or more a sample that a method holds."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, PMNAR)
        per_sample = [t for t in tensors_of(pl_module, set()) if SIZE in t.shape]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in per_sample}
        self.write(trainer, [len(storages), sum(s.nbytes() for s in storages.values())])


def test_a_rank_holds_no_more_for_its_samples_than_a_single_process(tmp_path: Path) -> None:
    notes = Held(tmp_path)
    for ranks in (1, 2):
        data = make_data(source=FewDigits(SIZE), eval_batch_size=20)
        method = make_method(data, TinyNet, **TWO)
        # Not the batches that the toy keeps, nor its copies of states.
        method.batches, method.begun = _Nothing(), _Nothing()
        fit(method, data, callbacks=[notes], **devices(ranks))
    [(count, held)] = notes.read(1)
    # Labels, weights, the store, two confidences, three predictions and their probabilities.
    assert count == 11
    assert held == SIZE * (8 + 2 * 4 + 2 + 2 * 4 + 3 * 8 + 3 * 4)
    for count_of_rank, held_by_rank in notes.read(2):
        assert count_of_rank == count
        assert held_by_rank <= 1.1 * held


class _Nothing(list[Any]):
    """A list that keeps nothing."""

    def append(self, value: Any) -> None:
        """Forget it."""


# -- gradients ------------------------------------------------------------------------------------


class Gradients(Notes):
    """The gradients of every step, as the optimiser is given them."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.steps: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.steps.append([p.grad.clone() for p in pl_module.parameters() if p.grad is not None])

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.write(trainer, self.steps)


@pytest.mark.parametrize("name", ["ce", "pmnar"])
def test_two_ranks_gradients_are_those_of_one_process_on_the_union(
    name: str, tmp_path: Path
) -> None:
    """Of an even batch and of an odd last one; augmented, weighted, both groups of terms."""
    notes = Gradients(tmp_path)
    for ranks in (1, 2):
        data = make_data(source=FewDigits(SIZE))
        method = make_method(data, NoNorm, **{**ABLATIONS[name], "warmup_epochs": 0})
        fit(method, data, callbacks=[notes], **devices(ranks))
    [one] = notes.read(1)
    assert len(one) == 3
    assert all(gradient.abs().max() > 1e-3 for step in one for gradient in step)
    for of_rank in notes.read(2):
        torch.testing.assert_close(of_rank, one, rtol=0, atol=1e-6)


# -- BatchNorm's statistics and tests -------------------------------------------------------------


class Statistics(Notes, Checkpoint):
    """BatchNorm's statistics at the end of the epoch, when checkpoints are written."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.last = self.of(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.write(trainer, {"last": self.last, "saved": self.of(pl_module)})

    def of(self, method: L.LightningModule) -> dict[str, Tensor]:
        return {name: value for name, value in state(method).items() if "running" in name}


def test_what_an_epoch_leaves_has_the_ranks_mean_statistics_also_where_nothing_is_tested(
    tmp_path: Path,
) -> None:
    notes = Statistics(tmp_path)
    data = make_data(source=FewDigits(SIZE))
    method = make_method(data, TinyNet, **ABLATIONS["ce"])
    settings = {"enable_checkpointing": True, "limit_val_batches": 0, **devices(2)}
    fit(method, data, callbacks=[notes], **settings)
    first, second = notes.read(2)
    assert first["saved"].keys() == {f"networks.first.norm.running_{s}" for s in ("mean", "var")}
    for name in first["saved"]:
        assert not torch.equal(first["last"][name], second["last"][name])
        mean = (first["last"][name] + second["last"][name]) / 2
        for of_rank in (first, second):
            assert torch.equal(of_rank["saved"][name], mean)


class OddTests(FewDigits):
    """31 and 19 test digits: neither is a multiple of a batch or of the ranks."""

    def load(self) -> ImageData:
        """The digits, cut anew."""
        data = super().load()
        images = torch.cat([split.images for split in data.test.values()])
        labels = torch.cat([split.labels for split in data.test.values()])
        parts = {"test": slice(31), "other": slice(31, 50)}
        cut = {name: Split(images[part], labels[part]) for name, part in parts.items()}
        return replace(data, test=cut)


class Counted(Notes):
    """How many test samples this rank counted, and what came of all ranks' counts."""

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Watched)
        self.counts = {
            split: metrics["recall_class"].count.clone()  # type: ignore[index]
            for split, metrics in pl_module.metrics.items()
        }

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, PMNAR)
        self.write(trainer, {"counts": self.counts, "record": pl_module.record})


TESTING: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "inference_mode": False,
    "use_distributed_sampler": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@pytest.mark.parametrize("eval_batch_size", [7, 512])
def test_ranks_count_each_test_sample_once(
    eval_batch_size: int, trained: dict[str, Tensor], tmp_path: Path
) -> None:
    notes = Counted(tmp_path)
    for ranks in (1, 2, 3):
        data = make_data(source=OddTests(SIZE), eval_batch_size=eval_batch_size)
        method = make_method(data, TinyNet, **TWO)
        method.networks.load_state_dict(trained)
        trainer = L.Trainer(callbacks=[notes], **TESTING | devices(ranks))
        trainer.test(method, datamodule=data, verbose=False)
        labels = {split: data.splits[split].labels for split in ("test", "other")}
        of_ranks = notes.read(ranks)
        for split, of_split in labels.items():
            counted = sum(found["counts"][split] for found in of_ranks)
            assert torch.equal(counted, torch.bincount(of_split, minlength=10))
        assert [len(of_split) for of_split in labels.values()] == [31, 19]
    [one] = notes.read(1)
    assert 0 < one["record"]["accuracy_first"] < 1
    for found in notes.read(2) + notes.read(3):
        assert found["record"] == one["record"]
