"""Two ranks train what one process trains."""

from functools import partial

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from toy import ABLATIONS, FewDigits, fit, make_data, make_method, state


class NoNorm(nn.Module):
    """A network without BatchNorm, whose statistics are each rank's own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, dtype=torch.float64)
        self.head = nn.Linear(8, 10, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(x.double()).relu().mean((2, 3)))
        return logits


@pytest.mark.ddp
def test_two_ranks_equal_one_process() -> None:
    """Also where the last batch is odd, and where a rank has no batch of the ordered pass."""
    states = []
    for ranks in (1, 2):
        data = make_data(source=FewDigits(51), eval_batch_size=512)
        method = make_method(data, NoNorm, **ABLATIONS["pmnar"])
        if ranks == 1:
            fit(method, data, epochs=3)
        else:
            strategy = DDPStrategy(broadcast_buffers=False, start_method="fork")
            fit(method, data, epochs=3, devices=2, strategy=strategy)
        states.append(state(method))
    one, two = states
    assert torch.equal(one["complementary.bits"], two["complementary.bits"])
    assert not torch.equal(one["sample_weights"], torch.ones_like(one["sample_weights"]))
    close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-6)
    close(one, two)
