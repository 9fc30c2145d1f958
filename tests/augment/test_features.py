"""Views of features, and the scale that they are brought to."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pmnar.augment import FeatureDropout, Jitter, Normalize, feature_views, to_float
from pmnar.data import statistics
from pmnar.data.batches import Share
from pmnar.data.statistics import feature_statistics
from pmnar.data.views import Views
from pmnar.errors import InputError


@pytest.fixture
def features() -> Tensor:
    """Float32 `[5000, 7, 1, 1]` of very different scales; the last is constant."""
    drawn = torch.randn(5000, 7, generator=torch.Generator().manual_seed(1))
    scale = torch.tensor([1e-3, 1.0, 50.0, 1.0, 1.0, 1e4, 0.0])
    return (drawn * scale + torch.tensor([0, 0, 3, 1000, -7, 1e5, 0.3]))[:, :, None, None]


def test_statistics_are_those_of_the_whole(
    features: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = features.flatten(1).double().numpy()
    for block in (4096, 7, 10_000):
        monkeypatch.setattr(statistics, "BLOCK", block)
        mean, std = feature_statistics(features)
        assert np.allclose(mean, rows.mean(0), rtol=1e-13)
        assert np.allclose(std[:-1], rows.std(0)[:-1], rtol=1e-12)
        assert std[-1] == np.inf


def test_standardised_features_have_mean_0_and_deviation_1(features: Tensor) -> None:
    before = features.clone()
    found = Normalize(*feature_statistics(features))(features).double().flatten(1)
    assert torch.equal(features, before)
    assert found.mean(0).abs().max() < 1e-3
    assert (found[:, :-1].std(0) - 1).abs().max() < 1e-3
    assert (found[:, -1] == 0).all()
    assert torch.equal(Normalize([0.0], [1.0])(features), features)
    with pytest.raises(InputError, match=r"dataset\.mean must have 7 values"):
        Normalize([0.0, 1.0], [1.0, 1.0])(features)


def test_images_alone_are_divided_by_255(features: Tensor) -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_float(images), images.float() / 255)
    assert torch.equal(to_float(features), features)
    assert to_float(features).data_ptr() != features.data_ptr()


def test_dropout_keeps_features_or_sets_them_to_0() -> None:
    x = torch.rand(400, 50, 1, 1) + 1
    view = FeatureDropout(0.25)
    draws = view.draw(400, (50, 1, 1), torch.Generator().manual_seed(0))
    kept = draws["kept"]
    assert float(kept.double().mean()) == pytest.approx(0.75, abs=0.01)
    changed = view.apply(x, draws)
    assert torch.equal(changed[kept], x[kept] / 0.75)
    assert (changed[~kept] == 0).all()


def test_jitter_adds_noise_of_its_deviation() -> None:
    x = torch.rand(400, 50, 1, 1)
    view = Jitter(0.1)
    draws = view.draw(400, (50, 1, 1), torch.Generator().manual_seed(0))
    assert torch.equal(view.apply(x, draws), x + draws["noise"])
    assert float(draws["noise"].std()) == pytest.approx(0.1, rel=0.02)


def test_views_are_of_standardised_features(features: Tensor) -> None:
    batch, normalize = features[:32], Normalize(*feature_statistics(features))
    views = Views(feature_views(0.0, 0.5), normalize)
    weak, plain, strong, again = views.draw(
        ("weak", "plain", "strong", "strong"), batch, 0, Share(3, 32)
    )
    expected = normalize(batch)
    assert torch.equal(weak, expected)
    assert torch.equal(plain, expected)
    assert torch.equal(strong[strong != 0], 2 * expected[strong != 0])
    assert not torch.equal(strong, again)
    ranks = [views.draw(("strong",), batch[r::2], 0, Share(3, 32, r, 2))[0] for r in (0, 1)]
    assert torch.equal(torch.stack(ranks, 1).flatten(0, 1), strong)


@pytest.mark.parametrize(
    ("jitter", "dropout", "key"),
    [(-0.1, 0.0, "jitter"), (True, 0.0, "jitter"), (0.0, 1.0, "dropout"), (0.0, -1, "dropout")],
)
def test_bad_numbers_name_their_key(jitter: float, dropout: float, key: str) -> None:
    with pytest.raises(InputError, match=rf"dataset\.views\.{key} must be"):
        feature_views(jitter, dropout)
