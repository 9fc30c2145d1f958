"""What holds for every augmentation, and for whole views."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import autoaugment
from torchvision.transforms import functional as tv

from pmnar.augment import (
    Augmentation,
    AutoAugment,
    Compose,
    CropFlip,
    Cutout,
    Normalize,
    RandAugment,
    strong_view,
    weak_view,
)
from pmnar.errors import InputError

Images = Callable[..., Tensor]
Shape = tuple[int, int, int]

EVERY: dict[str, Augmentation] = {
    "nothing": Compose([]),
    "crop_flip": CropFlip(2),
    "autoaugment": AutoAugment(),
    "randaugment": RandAugment(),
    "cutout": Cutout(4),
    "weak": weak_view(1, flip=False),
    **{
        f"strong_{kind}": strong_view(2, True, kind, 3)
        for kind in ("autoaugment", "randaugment", "geometric")
    },
    "strong_cutout": strong_view(2, True, "cutout", 4),
    "strong_none": strong_view(2, True, "none"),
}
each = pytest.mark.parametrize("view", EVERY.values(), ids=EVERY)
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 33, 33)]


def draw(view: Augmentation, images: Tensor, seed: int = 0) -> dict[str, Tensor]:
    size, channels, height, width = images.shape
    return view.draw(size, (channels, height, width), torch.Generator().manual_seed(seed))


@each
@pytest.mark.parametrize("shape", SHAPES)
def test_a_ranks_share_is_the_share_of_the_whole(
    random_images: Images, view: Augmentation, shape: Shape
) -> None:
    images = random_images(37, *shape)
    draws = draw(view, images)
    whole = view.apply(images, draws)
    for rank in range(3):
        share = {name: values[rank::3] for name, values in draws.items()}
        assert torch.equal(view.apply(images[rank::3], share), whole[rank::3])


@each
def test_one_image_at_a_time_equals_the_batch(random_images: Images, view: Augmentation) -> None:
    images = random_images(12, 3, 28)
    draws = draw(view, images)
    singles = [
        view.apply(images[i : i + 1], {name: values[i : i + 1] for name, values in draws.items()})
        for i in range(12)
    ]
    assert torch.equal(torch.cat(singles), view.apply(images, draws))


@each
@pytest.mark.parametrize("size", [0, 1, 5])
def test_shapes_dtypes_and_the_input_stay(
    random_images: Images, view: Augmentation, size: int
) -> None:
    images = random_images(size, 3, 32)
    before = images.clone()
    draws = draw(view, images)
    assert all(len(v) == size and v.device.type == "cpu" for v in draws.values())
    changed = view.apply(images, draws)
    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(images, before)


@each
def test_the_generator_decides_alone(random_images: Images, view: Augmentation) -> None:
    images = random_images(20, 3, 32)
    state = torch.get_rng_state()
    first = draw(view, images, seed=5)
    again = draw(view, images, seed=5)
    changed = view.apply(images, first)
    assert torch.equal(torch.get_rng_state(), state), "the global generator must not be used"
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(view.apply(images, again), changed)


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"nothing"}))
def test_draws_differ_by_sample_and_by_seed(random_images: Images, name: str) -> None:
    images = random_images(1, 3, 32).expand(64, -1, -1, -1)
    view = EVERY[name]
    changed = view.apply(images, draw(view, images))
    assert len({image.numpy().tobytes() for image in changed}) > 5
    assert not torch.equal(changed, view.apply(images, draw(view, images, seed=1)))


@pytest.mark.parametrize("shape", SHAPES)
def test_strong_view_equals_torchvision_image_by_image(random_images: Images, shape: Shape) -> None:
    """Crop, flip, AutoAugment and cutout in this order."""
    images = random_images(60, *shape)
    view = strong_view(2, True, "autoaugment", cutout=4)
    draws = draw(view, images)
    policy = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10)
    for i, actual in enumerate(view.apply(images, draws)):
        own = {name: values[i] for name, values in draws.items()}
        image = tv.pad(images[i], [2])
        image = tv.crop(image, int(own["0.top"]), int(own["0.left"]), *shape[1:])
        image = tv.hflip(image) if own["0.flip"] else image
        drawn = int(own["1.policy"]), own["1.chance"], own["1.sign"]
        policy.get_params = lambda _, drawn=drawn: drawn
        image = policy(image)
        top, left = int(own["2.row"]) - 2, int(own["2.column"]) - 2
        image = image.clone()
        image[:, max(top, 0) : top + 4, max(left, 0) : left + 4] = 0
        assert torch.equal(actual, image)


def test_a_hole_of_the_mean_is_nought_once_normalised(random_images: Images) -> None:
    images, mean = random_images(60, 3, 32), (0.2, 0.5, 0.7)
    black, grey = (strong_view(2, True, "none", 8, colour) for colour in (None, mean))
    draws = draw(black, images)
    normalize = Normalize(mean, (0.25, 0.25, 0.25))
    plain = normalize(strong_view(2, True, "none").apply(images, draws))
    found = normalize(grey.apply(images, draws))
    hole = torch.zeros(60, 1, 32, 32, dtype=torch.bool)
    for i in range(60):
        top, left = int(draws["1.row"][i]) - 4, int(draws["1.column"][i]) - 4
        hole[i, :, max(top, 0) : top + 8, max(left, 0) : left + 8] = True
    assert (found * hole).abs().max() <= 0.5 / 255 / 0.25 + 1e-6
    assert torch.equal(found * ~hole, plain * ~hole)
    assert torch.equal(black.apply(images, draws) * hole, torch.zeros_like(images))
    with pytest.raises(InputError, match=r"dataset.mean must have 1 values .* got 3"):
        draw(grey, random_images(2, 1, 32))


def test_strong_none_is_a_weak_view(random_images: Images) -> None:
    images = random_images(30, 3, 32)
    weak, strong = weak_view(4, True), strong_view(4, True, "none")
    weakly = weak.apply(images, draw(weak, images))
    assert torch.equal(strong.apply(images, draw(strong, images)), weakly)


def test_compose_applies_its_parts_in_order(random_images: Images) -> None:
    images = random_images(30, 3, 32)
    parts: list[Augmentation] = [CropFlip(2), *[Cutout(3) for _ in range(10)], AutoAugment()]
    draws = draw(Compose(parts), images)
    assert [name for name in draws if name.startswith("1.")] == ["1.row", "1.column"]
    generator = torch.Generator().manual_seed(0)
    drawn = [part.draw(30, (3, 32, 32), generator) for part in parts]
    expected = images
    for part, own in zip(parts, drawn, strict=True):
        expected = part.apply(expected, own)
    assert torch.equal(Compose(parts).apply(images, draws), expected)


def test_bad_views_name_the_key() -> None:
    message = r"dataset\.views\.strong must be one of autoaugment, .*, none, got 'mixup'"
    with pytest.raises(InputError, match=message):
        strong_view(4, True, "mixup")
    with pytest.raises(InputError, match=r"dataset\.views\.cutout must be at least 1, got 0"):
        strong_view(4, True, "cutout")
    with pytest.raises(InputError, match=r"dataset\.views\.cutout must be at least 1, got -2"):
        strong_view(4, True, "autoaugment", cutout=-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each
def test_the_gpu_equals_the_cpu_and_never_waits(random_images: Images, view: Augmentation) -> None:
    images = random_images(200, 3, 32)
    draws = draw(view, images)
    on_device = images.cuda()
    view.apply(on_device, draws)  # sends the tables of constants
    torch.cuda.set_sync_debug_mode("error")
    try:
        changed = view.apply(on_device, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(changed.cpu(), view.apply(images, draws))
