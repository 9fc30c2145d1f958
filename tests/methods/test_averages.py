"""Moving averages of networks: their closed form, their modes, and where their state is."""

from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from every import build
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from toy import TinyNet, fit, make_data, make_setting, same_state, state, train_batches

from pmnar.data import Batch
from pmnar.losses import cross_entropy
from pmnar.methods import NoisyLabelMethod, Setting
from pmnar.methods.averages import Averages
from pmnar.methods.networks import Networks
from pmnar.methods.terms import Losses

DOUBLE = partial(TinyNet, dtype=torch.float64)


def pair() -> Networks:
    torch.manual_seed(0)
    return Networks({"first": DOUBLE(), "second": DOUBLE()})


def test_they_begin_as_the_networks_and_are_others() -> None:
    networks = pair()
    averages = Averages(networks)
    assert same_state(state(networks), state(averages))
    for average, network in zip(averages.parameters(), networks.parameters(), strict=True):
        assert average.data_ptr() != network.data_ptr()
        assert not average.requires_grad
        assert network.requires_grad


def test_an_average_is_the_weighted_sum_of_all_it_has_followed() -> None:
    networks = pair()
    averages = Averages(networks)
    seen = [state(networks)]
    for step in range(5):
        with torch.no_grad():
            for value in networks.parameters():
                value.add_(torch.randn_like(value))
        networks["first"](torch.randn(8, 1, 8, 8))  # moves its running statistics
        averages.follow(networks, 0.9)
        seen.append(state(networks))
        weights = [0.9 ** (step + 1), *(0.1 * 0.9 ** (step - s) for s in range(step + 1))]
        for name, found in state(averages).items():
            if found.is_floating_point():
                expected = sum(w * s[name] for w, s in zip(weights, seen, strict=True))
                torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
            else:
                assert torch.equal(found, seen[-1][name])


def test_without_memory_they_are_the_networks() -> None:
    networks = pair()
    averages = Averages(networks)
    with torch.no_grad():
        for value in networks.parameters():
            value.add_(torch.randn_like(value))
    averages.follow(networks, 0.0)
    assert same_state(state(networks), state(averages))
    before = state(averages)
    networks["first"](torch.randn(8, 1, 8, 8))
    averages.follow(networks, 1.0)
    counts = {name for name in before if "num_batches" in name}
    found = state(averages)
    assert all(torch.equal(found[name], before[name]) for name in before.keys() - counts)


def test_statistics_are_left_alone_where_it_is_asked_for() -> None:
    """They are what the average itself was shown."""
    networks = pair()
    averages = Averages(networks, parameters_alone=True)
    for values in (networks["first"].parameters(), networks["first"].buffers()):
        for value in values:
            value.data.add_(1)
    before = state(averages)
    averages.follow(networks, 0.5)
    after, now = state(averages), state(networks)
    parameters = dict(averages.named_parameters())
    for name, value in before.items():
        expected = (value + now[name]) / 2 if name in parameters else value
        torch.testing.assert_close(after[name], expected)
    averages.logits((torch.randn(8, 1, 8, 8),), training=True)
    assert not torch.equal(averages["first"].norm.running_mean, after["first.norm.running_mean"])  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize("training", [True, False])
def test_they_answer_in_the_mode_that_is_asked_for(training: bool) -> None:
    networks = pair()
    networks["first"](torch.randn(8, 1, 8, 8))
    averages = Averages(networks)
    views = (torch.randn(6, 1, 8, 8), torch.randn(6, 1, 8, 8))
    found = averages.logits(views, training)
    networks.train(training)
    for name, of_views in networks.logits(views).items():
        for mine, expected in zip(found[name], of_views, strict=True):
            assert torch.equal(mine, expected)
            assert not mine.requires_grad
    # Statistics drift where the mode is training, as the networks' own.
    assert same_state(state(averages), state(networks))


class Followed(NoisyLabelMethod):
    """Cross-entropy with an average that looks on."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.averages = Averages(self.networks)

    def losses(self, batch: Batch) -> Losses:
        [z] = self.networks.logits(batch.views)["first"]
        return {"first": {"loss_first": cross_entropy(z, batch.labels)}}


def test_they_are_saved_laid_out_and_claimed_by_no_group() -> None:
    data = make_data(("weak",))
    method = Followed(make_setting(data))
    optimizer = method.configure_optimizers()["optimizer"]
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in method.networks.parameters()}
    assert "averages.first.conv.weight" in method.state_dict()
    assert method.all_networks == [method.networks, method.averages]
    batch = next(train_batches(data))
    assert method.averages.logits(batch.views)["first"][0].shape == (20, 10)


class Statistics(Callback):
    """Writes what each rank's checkpoint would hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        torch.save(state(pl_module), self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.ddp
def test_ranks_leave_averages_with_the_same_statistics(tmp_path: Path) -> None:
    data = make_data()
    strategy = DDPStrategy(broadcast_buffers=False, start_method="fork")
    fit(build("elr_plus", data), data, 2, [Statistics(tmp_path)], devices=2, strategy=strategy)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same_state(first, second)
    assert any(key.startswith("averages") and "running_var" in key for key in first)
