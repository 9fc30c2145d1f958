"""The operations of AutoAugment and RandAugment on a batch in which every image has its own.

Results are bit for bit those of torchvision's per-image kernels (nearest interpolation, zeros
outside). An operation at one magnitude is a table where it can be: the pixel that each pixel
copies (geometry), or the value that each value becomes. Both are read off torchvision's kernels,
once, on the host. So a batch takes one gather whatever the number of magnitudes in it, and nothing
waits for the device.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import functional as tv
from torchvision.transforms.v2 import functional as tv2

Level = tuple[str, float]
"""An operation and its magnitude, sign included; `("Identity", 0.0)` leaves the image alone."""

Kernel = Callable[[Tensor, Tensor], Tensor]


class Operations:
    """A fixed set of levels, any of which can be applied to any image of a batch.

    Args:
        levels: the operations and their magnitudes.
        height: of the images.
        width: of the images.
    """

    def __init__(self, levels: Sequence[Level], height: int, width: int) -> None:
        rows: dict[Kernel, list[Tensor]] = {}
        group_and_row = []
        for operation, magnitude in levels:
            own = rows.setdefault(_KERNELS[operation], [])
            group_and_row.append([list(rows).index(_KERNELS[operation]), len(own)])
            own.append(_parameters(operation, magnitude, height, width))
        self._kernels = list(rows)
        self._group, self._row = torch.tensor(group_and_row).unbind(1)
        self._tables = {torch.device("cpu"): [torch.stack(own) for own in rows.values()]}

    def __call__(self, images: Tensor, level: Tensor) -> Tensor:
        """The changed images, uint8 `[B, C, H, W]`.

        Args:
            images: uint8 `[B, C, H, W]`, C is 1 or 3, on any device.
            level: each image's position in `levels`, int64 `[B]`, on the host.
        """
        group = self._group[level]
        order = group.argsort(stable=True)
        counts = group.bincount(minlength=len(self._kernels)).tolist()
        into_groups, row, back = (
            index.to(images.device, non_blocking=True)
            for index in (order, self._row[level[order]], order.argsort())
        )
        parts = torch.split(images.index_select(0, into_groups), counts)
        rows = torch.split(row, counts)
        tables = self._tables_on(images.device)
        changed = [
            kernel(part, table.index_select(0, own)) if len(part) > 0 else part
            for kernel, part, table, own in zip(self._kernels, parts, tables, rows, strict=True)
        ]
        return torch.cat(changed).index_select(0, back)

    def _tables_on(self, device: torch.device) -> list[Tensor]:
        """Each kernel's parameters at each of its levels, `[rows, ...]`."""
        if device not in self._tables:
            on_host = self._tables[torch.device("cpu")]
            self._tables[device] = [table.to(device) for table in on_host]
        return self._tables[device]


def _parameters(operation: str, magnitude: float, height: int, width: int) -> Tensor:
    """One level's parameters: source pixels `[H * W]`, new values `[256]`, or weights `[2]`.

    The weights are of the image and of what it is blended with; operations without a magnitude
    ignore them.
    """
    if operation in _GEOMETRIC:
        # From 1, so that the zeros which torchvision fills in mean "outside"; exact in float32.
        position = torch.arange(1.0, height * width + 1).view(1, height, width)
        return _GEOMETRIC[operation](position, magnitude).long().flatten()
    if operation in _POINTWISE:
        value = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
        return _POINTWISE[operation](value, magnitude).flatten()
    factor = 1.0 + magnitude
    return torch.tensor([factor, 1.0 - factor])


def _shear(images: Tensor, x: float, y: float) -> Tensor:
    angles = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    sheared: Tensor = tv.affine(images, 0.0, [0, 0], 1.0, angles, center=[0, 0])
    return sheared


def _translate(images: Tensor, x: float, y: float) -> Tensor:
    moved: Tensor = tv.affine(images, 0.0, [int(x), int(y)], 1.0, [0.0, 0.0])
    return moved


_GEOMETRIC: dict[str, Callable[[Tensor, float], Tensor]] = {
    "ShearX": lambda images, magnitude: _shear(images, magnitude, 0.0),
    "ShearY": lambda images, magnitude: _shear(images, 0.0, magnitude),
    "TranslateX": lambda images, magnitude: _translate(images, magnitude, 0.0),
    "TranslateY": lambda images, magnitude: _translate(images, 0.0, magnitude),
    "Rotate": lambda images, magnitude: tv.rotate(images, magnitude),
}

_POINTWISE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Brightness": lambda values, magnitude: tv.adjust_brightness(values, 1.0 + magnitude),
    "Posterize": lambda values, magnitude: tv.posterize(values, int(magnitude)),
    "Solarize": lambda values, magnitude: tv.solarize(values, magnitude),
    "Invert": lambda values, _: tv.invert(values),
}


def _keep(images: Tensor, _: Tensor) -> Tensor:
    return images


def _move(images: Tensor, source: Tensor) -> Tensor:
    padded = pad(images.flatten(2), (1, 0))
    return padded.gather(2, source[:, None].expand(-1, images.shape[1], -1)).view_as(images)


def _look_up(images: Tensor, table: Tensor) -> Tensor:
    values = images.flatten(2).long()
    return table[:, None].expand(-1, images.shape[1], -1).gather(2, values).view_as(images)


def _blend(images: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    own, rest = weights[:, :, None, None, None].unbind(1)
    return (own * images + rest * other).clamp_(0, 255).to(torch.uint8)


def _color(images: Tensor, weights: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    return _blend(images, tv.rgb_to_grayscale(images), weights)


def _contrast(images: Tensor, weights: Tensor) -> Tensor:
    mean = tv.rgb_to_grayscale(images).float().mean((1, 2, 3), keepdim=True)
    return _blend(images, mean, weights)


def _sharpness(images: Tensor, weights: Tensor) -> Tensor:
    """Blends with the 3×3 mean, five times the weight on the centre; the border stays.

    Sums are of integers and a thirteenth is never halfway between two, so no order of summation
    (batch size, device, TF32) can change the rounding, as it could with a convolution.
    """
    if min(images.shape[2:]) <= 2:
        return images
    values = images.to(torch.int16)
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * values[:, :, 1:-1, 1:-1]
    blurred = images.clone()
    blurred[:, :, 1:-1, 1:-1] = (total / 13).round_().to(torch.uint8)
    return _blend(images, blurred, weights)


def _autocontrast(images: Tensor, _: Tensor) -> Tensor:
    stretched: Tensor = tv.autocontrast(images)
    return stretched


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    # The older kernel loops over images and channels, and waits for the device in each.
    equalized: Tensor = tv2.equalize(images)
    return equalized


_KERNELS: dict[str, Kernel] = {
    "Identity": _keep,
    **dict.fromkeys(_GEOMETRIC, _move),
    **dict.fromkeys(_POINTWISE, _look_up),
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
}
