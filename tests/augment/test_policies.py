import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, autoaugment

from pmnar.augment import AutoAugment, Draws, RandAugment
from pmnar.augment.tables import CIFAR10, GEOMETRIC, RANDAUGMENT
from pmnar.errors import InputError

Images = Callable[..., Tensor]
Shape = tuple[int, int, int]

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 33, 33), (3, 20, 33)]


def autoaugment_one_by_one(images: Tensor, draws: Draws) -> Tensor:
    """The same change by torchvision's AutoAugment, image by image."""
    reference = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10)
    changed = []
    for image, policy, chance, sign in zip(images, *draws.values(), strict=True):
        drawn = int(policy), chance, sign
        reference.get_params = lambda _, drawn=drawn: drawn
        changed.append(reference(image))
    return torch.stack(changed)


def randaugment_one_by_one(images: Tensor, draws: Draws, magnitude: int, bins: int) -> Tensor:
    """The same change by torchvision's space and operations, image by image."""
    space = autoaugment.RandAugment()._augmentation_space(bins, tuple(images.shape[2:]))
    changed = []
    for image, operations, signs in zip(images, *draws.values(), strict=True):
        for operation, sign in zip(operations, signs, strict=True):
            name = list(space)[operation]
            values, signed = space[name]
            size = float(values[magnitude]) if values.ndim > 0 else 0.0
            image = autoaugment._apply_op(
                image, name, -size if signed and not sign else size, InterpolationMode.NEAREST, None
            )
        changed.append(image)
    return torch.stack(changed)


def test_policy_table_equals_torchvision() -> None:
    reference = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10)
    assert list(CIFAR10) == reference.policies


@pytest.mark.parametrize("shape", SHAPES)
def test_autoaugment_equals_torchvision_in_every_sub_policy(
    random_images: Images, shape: Shape
) -> None:
    """Every sub-policy, every pair of signs, every subset of its two operations."""
    cases = torch.tensor([*itertools.product(range(25), *[(0, 1)] * 4)])
    draws = {
        "policy": cases[:, 0],
        "chance": cases[:, 1:3].float() * 0.999 + 0.0001,
        "sign": cases[:, 3:],
    }
    images = random_images(len(cases), *shape)
    assert torch.equal(AutoAugment().apply(images, draws), autoaugment_one_by_one(images, draws))


@pytest.mark.parametrize("shape", SHAPES)
def test_autoaugment_equals_torchvision_as_drawn(random_images: Images, shape: Shape) -> None:
    images = random_images(100, *shape)
    draws = AutoAugment().draw(100, shape, torch.Generator().manual_seed(3))
    assert torch.equal(AutoAugment().apply(images, draws), autoaugment_one_by_one(images, draws))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("num_ops", "magnitude", "bins"), [(2, 9, 31), (3, 9, 10), (1, 0, 31)])
def test_randaugment_equals_torchvision(
    random_images: Images, shape: Shape, num_ops: int, magnitude: int, bins: int
) -> None:
    images = random_images(100, *shape)
    view = RandAugment(num_ops, magnitude, bins)
    draws = view.draw(100, shape, torch.Generator().manual_seed(3))
    expected = randaugment_one_by_one(images, draws, magnitude, bins)
    assert torch.equal(view.apply(images, draws), expected)


def test_geometric_is_randaugment_over_its_first_six(random_images: Images) -> None:
    images, shape = random_images(100, 1, 8, 8), (1, 8, 8)
    draws = RandAugment(operations=GEOMETRIC).draw(100, shape, torch.Generator().manual_seed(3))
    assert set(draws["operation"].flatten().tolist()) == set(range(6))
    expected = randaugment_one_by_one(images, draws, 9, 31)
    assert torch.equal(RandAugment(operations=GEOMETRIC).apply(images, draws), expected)


@pytest.mark.data
def test_equal_torchvision_on_real_photographs(cifar_images: Tensor) -> None:
    generator = torch.Generator().manual_seed(4)
    draws = AutoAugment().draw(256, (3, 32, 32), generator)
    expected = autoaugment_one_by_one(cifar_images, draws)
    assert torch.equal(AutoAugment().apply(cifar_images, draws), expected)
    draws = RandAugment().draw(256, (3, 32, 32), generator)
    expected = randaugment_one_by_one(cifar_images, draws, 9, 31)
    assert torch.equal(RandAugment().apply(cifar_images, draws), expected)


@pytest.mark.parametrize("policy", [AutoAugment(), RandAugment()])
def test_one_object_serves_several_sizes(
    random_images: Images, policy: AutoAugment | RandAugment
) -> None:
    for shape in (*SHAPES, SHAPES[0]):
        images = random_images(20, *shape)
        draws = policy.draw(20, shape, torch.Generator().manual_seed(0))
        fresh = type(policy)().apply(images, draws)
        assert torch.equal(policy.apply(images, draws), fresh)


def test_autoaugment_draws_are_uniform() -> None:
    draws = AutoAugment().draw(100_000, (3, 32, 32), torch.Generator().manual_seed(1))
    assert draws["policy"].bincount().tolist() == pytest.approx([4000] * 25, rel=0.07)
    assert draws["sign"].float().mean(0).tolist() == pytest.approx([0.5] * 2, abs=0.01)
    deciles = (draws["chance"] * 10).long()
    for step in range(2):
        assert deciles[:, step].bincount().tolist() == pytest.approx([10_000] * 10, rel=0.05)


def test_autoaugment_applies_each_operation_with_its_probability(digits: Tensor) -> None:
    """Of sub-policy 0 only Invert (.1) turns a black image white."""
    draws = AutoAugment().draw(10_000, (1, 8, 8), torch.Generator().manual_seed(2))
    draws["policy"] = torch.zeros_like(draws["policy"])
    changed = AutoAugment().apply(torch.zeros(10_000, 1, 8, 8, dtype=torch.uint8), draws)
    assert (changed == 255).all(dim=(1, 2, 3)).float().mean() == pytest.approx(0.1, abs=0.01)


def test_randaugment_draws_are_uniform_and_independent() -> None:
    draws = RandAugment().draw(98_000, (3, 32, 32), torch.Generator().manual_seed(1))
    operation = draws["operation"]
    pairs = (operation[:, 0] * len(RANDAUGMENT) + operation[:, 1]).bincount()
    assert pairs.tolist() == pytest.approx([500] * 196, rel=0.2)
    assert draws["sign"].float().mean(0).tolist() == pytest.approx([0.5] * 2, abs=0.01)


def test_color_is_the_identity_on_gray_images(digits: Tensor) -> None:
    color = RANDAUGMENT.index("Color")
    draws = {"operation": torch.full((256, 1), color), "sign": torch.ones(256, 1).long()}
    assert torch.equal(RandAugment(1).apply(digits, draws), digits)


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match=r"policy must be one of .*cifar10.*, got 'imagenet'"):
        AutoAugment("imagenet")
    with pytest.raises(InputError, match=r"magnitude must be in \[0, 31\), got 31"):
        RandAugment(magnitude=31)
    with pytest.raises(InputError, match="num_ops must be at least 1, got 0"):
        RandAugment(num_ops=0)
    with pytest.raises(InputError, match="num_magnitude_bins must be at least 2, got 1"):
        RandAugment(magnitude=0, num_magnitude_bins=1)
