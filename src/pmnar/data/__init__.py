"""Data: sources of images, and the data module that injects noise and draws views."""

from pmnar.data.arrays import ImageData, Source, Split
from pmnar.data.batches import Batch, Share
from pmnar.data.module import NoisyDataModule

__all__ = ["Batch", "ImageData", "NoisyDataModule", "Share", "Source", "Split"]
