"""What the base gives methods: terms, whole batches, writes, parameters that someone trains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from toy import SEED, FewDigits, TinyNet, fit, make_data, make_setting, train_batches

from pmnar.data import Batch, Share
from pmnar.losses import cross_entropy
from pmnar.methods import NoisyLabelMethod
from pmnar.methods.terms import Losses, sums, total

SIZE = 51


def test_a_scalar_of_the_share_s_mean_is_a_term_like_rows() -> None:
    rows = torch.rand(3, 20, dtype=torch.float64)
    for world in (1, 2, 3):
        shares = [Share(SEED, 20, rank, world) for rank in range(world)]
        of_rows, of_scalars = [], []
        for share in shares:
            mine = share.take(rows[0])
            of_rows.append(total({"a": mine}, share))
            of_scalars.append(total({"a": share.mean(mine)}, share))
        torch.testing.assert_close(torch.stack(of_rows).mean(), rows[0].mean())
        torch.testing.assert_close(torch.stack(of_scalars), torch.stack(of_rows))
        both = []
        for share in shares:
            mine = share.take(rows[0])
            both.append(sums({"first": {"rows": mine, "value": share.mean(mine)}}, share))
        for name in ("rows", "value"):
            summed = torch.stack([each[name] for each in both]).sum()
            torch.testing.assert_close(summed, rows[0].sum())


def test_a_share_of_one_rank_is_whole() -> None:
    rows = torch.rand(5, 2)
    assert Share(SEED, 5).whole(rows) is rows


class OfTheWhole(NoisyLabelMethod):
    """Its loss compares every sample with all others; it writes what it saw of each sample."""

    seen: Tensor

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.register_buffer("seen", torch.full((len(self.labels), 10), -1.0))

    def losses(self, batch: Batch) -> Losses:
        share = batch.share
        assert share is not None
        [z] = self.networks.logits(batch.views)["first"]
        p = z.softmax(-1)
        self.write(self.seen, batch, p)
        whole = share.whole(p)
        spread = share.take((whole[:, None] - whole[None]).square().sum((1, 2)))
        return {"first": {"loss_first": cross_entropy(z, batch.labels), "spread": 0.1 * spread}}

    def on_train_end(self) -> None:
        folder = Path(self.identity["folder"])
        found = {"state": self.networks.state_dict(), "seen": self.seen, "record": self.record}
        torch.save(found, folder / f"{self.trainer.world_size}-{self.global_rank}.pt")


class NoNorm(nn.Module):
    """In 64 bits, without statistics of a rank's own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.double().flatten(1))
        return logits


@pytest.mark.ddp
@pytest.mark.parametrize("ranks", [2, 3])
def test_gradients_through_the_whole_batch_and_writes_are_one_process_s(
    ranks: int, tmp_path: Path
) -> None:
    """With uneven shares: 51 samples in batches of 20."""
    for world in (1, ranks):
        data = make_data(("weak",), source=FewDigits(SIZE))
        method = OfTheWhole(make_setting(data, NoNorm, lr=0.01))
        method.identity = {"folder": str(tmp_path)}
        strategy = DDPStrategy(broadcast_buffers=False, start_method="fork")
        settings: dict[str, Any] = {"devices": world, "strategy": strategy} if world > 1 else {}
        fit(method, data, **settings)
    one = torch.load(tmp_path / "1-0.pt", weights_only=True)
    assert (one["seen"] >= 0).all()
    for rank in range(ranks):
        mine = torch.load(tmp_path / f"{ranks}-{rank}.pt", weights_only=True)
        torch.testing.assert_close(mine["state"], one["state"], rtol=0, atol=1e-12)
        torch.testing.assert_close(mine["seen"], one["seen"], rtol=0, atol=1e-6)
        for name in ("loss", "loss_first", "spread"):
            assert mine["record"][name] == pytest.approx(one["record"][name])


def test_parameters_that_no_group_trains_are_refused() -> None:
    method = OfTheWhole(make_setting(make_data(("weak",))))
    method.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"no parameter group trains extra\.weight, extra\.bias"):
        method.configure_optimizers()


def test_a_head_is_wrapped_around_each_network() -> None:
    """Its parameters are in the network's group, seed and checkpoint."""
    data = make_data(("weak",))
    setting = make_setting(data).with_network(lambda net: nn.Sequential(net, nn.Linear(10, 10)))
    method = OfTheWhole(setting)
    assert isinstance(method.networks["first"][0], TinyNet)  # type: ignore[index]
    again = OfTheWhole(setting).networks.state_dict()
    assert all(torch.equal(again[k], v) for k, v in method.networks.state_dict().items())


def test_a_view_that_repeats_is_drawn_anew() -> None:
    data = make_data(("weak", "weak", "strong"))
    batch = next(train_batches(data))
    first, second, _ = batch.views
    assert not torch.equal(first, second)
    data.train_views = ("weak", "strong")
    again = next(train_batches(data))
    assert torch.equal(again.views[0], first)
    assert torch.equal(again.views[1], batch.views[2])


def test_the_plain_view_is_the_image_as_it_is() -> None:
    data = make_data(("plain", "weak"))
    batch = next(train_batches(data))
    whole = torch.cat([b.views[0] for b in data.ordered_batches(torch.device("cpu"))])
    assert torch.equal(batch.views[0], whole[batch.indices])
