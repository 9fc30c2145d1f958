"""A method whose epochs are drawn from streams, in two stages, beside samples with true labels."""

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Gradients, forked
from torch import Tensor, nn
from toy import FewDigits, NoNorm, TinyNet, fit, make_data, make_setting, same_state, state

from pmnar.data import NoisyDataModule
from pmnar.data.batches import Batch, ShuffledBatches, Stream
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods import NoisyLabelMethod
from pmnar.methods.terms import Losses
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.run_folder import CHECKPOINT

EPOCHS = 5


class InStages(NoisyLabelMethod):
    """An epoch on all; two on what is trusted then, beside the rest and clean ones; a restart."""

    trusted: Tensor
    views = ("weak", "weak")
    uses_truth = True
    keep: tuple[str, ...] = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, networks=2)
        self.register_buffer("trusted", torch.ones(len(self.labels), dtype=torch.bool))
        self.seen: list[tuple[int, set[str], int]] = []

    def streams(self, epoch: int) -> dict[str, Stream]:
        if epoch in (1, 4):
            return {**super().streams(epoch)}
        return {
            "labelled": Stream(self.trusted.nonzero()[:, 0].cpu()),
            "unlabelled": Stream((~self.trusted).nonzero()[:, 0].cpu(), 10),
            "clean": Stream(torch.arange(12), 6, "clean"),
        }

    def losses(self, batch: Batch) -> Losses:
        self.seen.append((self.current_epoch + 1, set(batch.parts), len(batch.indices)))
        found: dict[str, dict[str, Tensor]] = {}
        for name in self.networks:
            z, _ = self.networks.logits_of(name, batch.views)
            found[name] = {f"loss_{name}": cross_entropy(z, batch.labels)}
            for part in list(batch.parts)[1:]:
                of_part: Batch = batch.parts[part]
                assert of_part.share is not None
                z, _ = self.networks.logits_of(name, of_part.views)
                loss = of_part.share.mean(cross_entropy(z, of_part.labels))
                found[name][f"loss_{part}"] = 0.3 * loss
        return found

    def prepare_epoch(self, epoch: int) -> None:
        if epoch == 4:
            self.restart("again", self.keep)
        confidence = self.measure().confidence["first"]
        self.trusted.copy_(confidence > confidence.median())


def made(data: NoisyDataModule, network: Any = TinyNet, lr: float = 0.1) -> InStages:
    method = InStages(make_setting(data, network, lr))
    method.attach(data)
    return method


def test_each_epoch_has_the_steps_and_parts_that_its_streams_ask_for() -> None:
    data = make_data(source=FewDigits(72), clean=12)
    method = made(data)
    fit(method, data, EPOCHS)
    steps = {e: [s for s in method.seen if s[0] == e] for e in range(1, EPOCHS + 1)}
    names = {"labelled", "unlabelled", "clean"}
    assert [len(steps[e]) for e in (1, 4)] == [3, 3], "60 samples in batches of 20"
    assert all(not parts for e in (1, 4) for _, parts, _ in steps[e])
    assert all(parts == names for e in (2, 3, 5) for _, parts, _ in steps[e])
    assert all(sum(size for *_, size in steps[e]) in range(28, 31) for e in (2, 3, 5))
    assert method.record["loss_clean"] > 0


def test_stopped_after_any_epoch_it_ends_as_unbroken(tmp_path: Path) -> None:
    io: dict[str, Any] = {"enable_checkpointing": True, "plugins": [SafeCheckpointIO()]}
    data = make_data(source=FewDigits(72), clean=12)
    whole = made(data)
    fit(whole, data, EPOCHS)
    for epoch in range(1, EPOCHS):
        folder = tmp_path / str(epoch)
        fit(made(data), data, epoch, [RunCheckpoint(folder)], **io)
        again = made(data)
        fit(again, data, EPOCHS, [RunCheckpoint(folder)], folder / CHECKPOINT, **io)
        assert same_state(state(whole), state(again)), epoch


@pytest.mark.ddp
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_ranks_gradients_are_one_process_s(ranks: int, tmp_path: Path) -> None:
    for world in (1, ranks):  # of 59 samples, 29 and 30; no last batch is too small for three
        data = make_data(source=FewDigits(71), clean=12)
        method = made(data, NoNorm, lr=0.01)
        fit(method, data, EPOCHS, [Gradients(tmp_path)], **forked(world))
    one = torch.load(tmp_path / "1-0.pt", weights_only=True)
    for rank in range(ranks):
        mine = torch.load(tmp_path / f"{ranks}-{rank}.pt", weights_only=True)
        torch.testing.assert_close(mine["steps"], one["steps"], rtol=0, atol=1e-6)
        assert torch.equal(mine["buffers"]["trusted"], one["buffers"]["trusted"])


@pytest.mark.parametrize("keep", [(), ("conv", "norm"), ("",)])
def test_a_restart_is_a_beginning(keep: tuple[str, ...]) -> None:
    """Weights anew but for those kept, no momentum, the first epoch's rate and schedule."""
    data = make_data(source=FewDigits(72), clean=12)
    method = made(data)
    method.keep = keep
    first = state(method.networks)
    fit(method, data, 2)
    pointers = {key: value.data_ptr() for key, value in method.networks.state_dict().items()}
    trained = state(method.networks)
    method.restart("more", keep)
    method.restart("again", keep)
    now, fresh = method.networks.state_dict(), made(data).networks.state_dict()
    for key, value in now.items():
        assert value.data_ptr() == pointers[key]
        if "num_batches" in key:
            continue
        kept = key.split(".", 1)[1].startswith(keep)
        assert torch.equal(value, trained[key]) == kept, key
        if key.endswith(("weight",)) and "norm" not in key:
            assert not torch.equal(value, first[key]), "of its own seed"
            assert value.shape == fresh[key].shape
    optimizer, schedule = method.optimizers(), method.lr_schedulers()
    assert not optimizer.state  # type: ignore[union-attr]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]  # type: ignore[union-attr]
    assert schedule.last_epoch == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_a_stream_s_batches_have_two_samples_a_rank(size: int, world: int) -> None:
    streams = {"labelled": Stream(torch.arange(20)), "unlabelled": Stream(torch.arange(9), size)}
    ranks = [ShuffledBatches(streams, 10, 0, rank, world, lambda: 0) for rank in range(world)]
    for requests in zip(*ranks, strict=True):
        of_part = [request.parts["unlabelled"].indices for request in requests]
        assert all(len(indices) >= 2 for indices in of_part)
        assert sum(map(len, of_part)) <= min(max(size, 2 * world), 9)


def test_a_method_that_needs_true_labels_says_so() -> None:
    with pytest.raises(InputError, match=r"set data\.clean to how many are held out for it"):
        made(make_data())


def test_the_networks_of_a_stage_are_seeded_by_it() -> None:
    data = make_data(source=FewDigits(72), clean=12)
    found = []
    for stages in (("a", "b"), ("b",), ("b",)):
        method = made(data)
        fit(method, data, 1)
        for stage in stages:
            method.restart(stage)
        found.append(state(method.networks))
    assert same_state(found[0], found[1])
    assert same_state(found[1], found[2])
    assert isinstance(method.networks["first"], nn.Module)
