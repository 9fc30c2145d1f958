"""Batched image augmentation on the device, drawn per sample on the host."""

from pmnar.augment.base import Augmentation, Draws, PaddedAugmentation
from pmnar.augment.compose import Compose
from pmnar.augment.crop import CropFlip
from pmnar.augment.cutout import Cutout
from pmnar.augment.features import FeatureDropout, Jitter, feature_views
from pmnar.augment.normalize import Normalize, to_float
from pmnar.augment.policies import AutoAugment, RandAugment
from pmnar.augment.views import strong_view, weak_view

__all__ = [
    "Augmentation",
    "AutoAugment",
    "Compose",
    "CropFlip",
    "Cutout",
    "Draws",
    "FeatureDropout",
    "Jitter",
    "Normalize",
    "PaddedAugmentation",
    "RandAugment",
    "feature_views",
    "strong_view",
    "to_float",
    "weak_view",
]
