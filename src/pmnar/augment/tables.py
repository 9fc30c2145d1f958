"""What the papers fix: AutoAugment's policy, RandAugment's operations, and their magnitudes."""

import torch
from torch import Tensor

Step = tuple[str, float, int | None]
"""An operation, its probability, and its magnitude's bin (None where it has no magnitude)."""

# The policy found on CIFAR-10 (AutoAugment, appendix), as torchvision has it.
CIFAR10: tuple[tuple[Step, Step], ...] = (
    (("Invert", 0.1, None), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, None), ("Equalize", 0.9, None)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, None), ("Equalize", 0.5, None)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, None), ("AutoContrast", 0.4, None)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, None)),
    (("Equalize", 0.2, None), ("AutoContrast", 0.6, None)),
    (("Equalize", 0.2, None), ("Equalize", 0.6, None)),
    (("Color", 0.9, 9), ("Equalize", 0.6, None)),
    (("AutoContrast", 0.8, None), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, None)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, None), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, None), ("Invert", 0.1, None)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, None)),
)
POLICIES = {"cifar10": CIFAR10}

# The magnitude of the last bin; that of the first is 0, the bins between are evenly spaced.
_LARGEST = {"ShearX": 0.3, "ShearY": 0.3, "Rotate": 30.0}
_LARGEST |= dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.9)
SIGNED = frozenset({*_LARGEST, "TranslateX", "TranslateY"})
UNSIGNED = ("Posterize", "Solarize", "AutoContrast", "Equalize")
GEOMETRIC = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
RANDAUGMENT = (
    *GEOMETRIC,
    *("Brightness", "Color", "Contrast", "Sharpness", *UNSIGNED),
)


def magnitudes(operation: str, bins: int, height: int, width: int) -> Tensor:
    """What each bin means for an operation, `[bins]`, without the sign.

    Shears are slopes, translations pixels, rotations degrees; brightness, color, contrast and
    sharpness are changes of a factor of 1; posterize gives the bits kept, solarize a threshold.
    Zeros for operations without a magnitude.
    """
    if operation.startswith("Translate"):
        side = width if operation == "TranslateX" else height
        return torch.linspace(0.0, 150.0 / 331.0 * side, bins)
    if operation == "Posterize":
        return (8 - (torch.arange(bins) / ((bins - 1) / 4)).round()).int()
    if operation == "Solarize":
        return torch.linspace(255.0, 0.0, bins)
    return torch.linspace(0.0, _LARGEST.get(operation, 0.0), bins)
