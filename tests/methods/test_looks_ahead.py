"""Derivatives along a direction: any network's, or a line says which layers know none."""

import pytest
from every import METHODS, build, settings_of
from hydra.utils import get_class
from torch import Tensor, nn
from toy import fit, make_data

from pmnar.errors import InputError
from pmnar.methods.clean_samples import LooksAhead

NAMES = [
    name for name in METHODS if issubclass(get_class(settings_of(name)["_target_"]), LooksAhead)
]


class Attending(nn.Module):
    """Attention among the quarters of an image: its fast kernels know no such derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.head, self.feature_size = nn.Linear(16, 8), nn.Linear(8, 10), 8

    def features(self, x: Tensor) -> Tensor:
        quarters = x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(len(x), 1, 4, 16)
        tokens = self.token(quarters)
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mean((1, 2))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


@pytest.mark.parametrize("name", NAMES)
def test_a_network_with_attention_is_trained(name: str) -> None:
    data = make_data()
    method = build(name, data, Attending)
    fit(method, data)
    assert method.record["loss_first"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm_over_devices_is_refused(name: str) -> None:
    method = build(name, make_data())
    method.networks = nn.SyncBatchNorm.convert_sync_batchnorm(method.networks)  # type: ignore[no-untyped-call]
    with pytest.raises(
        InputError, match=r"^trainer\.sync_batchnorm must be false for .* got true$"
    ):
        method.on_fit_start()
