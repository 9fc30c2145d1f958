"""A run's networks without its data: to predict other images with."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn

from pmnar.augment import Normalize
from pmnar.data.sources.decode import Decoder
from pmnar.errors import InputError
from pmnar.methods import NoisyLabelMethod
from pmnar.runtime.compute import Compute
from pmnar.tasks.build import make_method
from pmnar.tasks.command import plain
from pmnar.tasks.places import from_its_start, locate, read_run_checkpoint, saved_config


class Classifier(nn.Module):
    """A trained run's networks, in eval mode: images in, class probabilities out.

    Args:
        method: with its trained networks.
        config: the run's configuration.

    Attributes:
        class_names: K names, in the order of the probabilities.
        image_shape: `[C, H, W]` that images should have.
    """

    def __init__(self, method: NoisyLabelMethod, config: DictConfig) -> None:
        super().__init__()
        self.method, self.config = method, config
        self.class_names = method.class_names
        self.image_shape: tuple[int, int, int] = tuple(plain(config.dataset.image_shape))
        self.normalize = Normalize(plain(config.dataset.mean), plain(config.dataset.std))
        self.eval()

    @property
    def decoder(self) -> Decoder:
        """How image files become what the networks were trained on.

        Raises:
            InputError: their images are not square.
        """
        channels, height, width = self.image_shape
        if height != width:
            raise InputError(f"images of {height}×{width} pixels: only square ones can be decoded")
        source = self.config.dataset.source
        return Decoder(height, channels, source.get("gray_bits", 16))

    @torch.no_grad()
    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Probabilities `[B, K]` of each network by name, and their mean as `ensemble` if two.

        Args:
            images: uint8 `[B, C, H, W]`, or floats in [0, 1], on the networks' device.

        Raises:
            InputError: images of another shape.
        """
        if tuple(images.shape[1:2]) != self.image_shape[:1] or images.ndim != 4:
            wanted = ["B", *self.image_shape]
            raise InputError(f"images must be {wanted}, got {list(images.shape)}".replace("'", ""))
        if images.dtype != torch.uint8:
            images = (images * 255).round().clamp(0, 255).to(torch.uint8)
        normal = self.normalize(images)
        return {name: self.method(normal, name) for name in self.method.output_names}

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities `[B, K]`, the mean of both networks' where there are two."""
        return list(self.outputs(images).values())[-1]


def load(run: str | Path, device: str | torch.device = "cpu") -> Classifier:
    """The networks that a run has trained; nothing of its data is read.

    Args:
        run: a run folder, or one of its checkpoints.
        device: where the networks are to be.

    Raises:
        InputError: there is no such run, or its checkpoint cannot be read.
    """
    folder, path = locate(Path(run), "run")
    checkpoint = read_run_checkpoint(path, "evaluate", folder)
    config = saved_config(checkpoint)
    from_its_start(config, folder)
    state: dict[str, Any] = checkpoint["state_dict"]
    with open_dict(config):
        config.dataset.num_classes = len(checkpoint["pmnar"]["class_names"])
    method = make_method(
        config,
        labels=state["labels"],
        class_names=tuple(checkpoint["pmnar"]["class_names"]),
        test_names=("test",),
        channels=config.dataset.image_shape[0],
        compute=Compute(),
        weights_follow=True,
    )
    method.load_state_dict(state)
    return Classifier(method, config).to(device)
