"""A run's networks without its data: to predict other images with."""

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
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
        shape: `[C, H, W]` of the images that it was trained on; `[D, 1, 1]` of features.
        normalize: what it was given them by.

    Attributes:
        class_names: K names, in the order of the probabilities.
        image_shape: the shape.
    """

    def __init__(
        self,
        method: NoisyLabelMethod,
        config: DictConfig,
        shape: Sequence[int],
        normalize: Normalize,
    ) -> None:
        super().__init__()
        self.method, self.config, self.normalize = method, config, normalize
        self.class_names, self.image_shape = method.class_names, tuple(shape)
        self.takes_features = self.image_shape[1:] == (1, 1)
        self.eval()

    @property
    def decoder(self) -> Decoder:
        """How image files become what the networks were trained on.

        Raises:
            InputError: they are not square, or features.
        """
        if self.takes_features:
            raise InputError("the run was trained on features, which no image file holds")
        channels, height, width = self.image_shape
        if height != width:
            raise InputError(f"images of {height}×{width} pixels: only square ones can be decoded")
        source = self.config.dataset.source
        return Decoder(height, channels, source.get("gray_bits", 16))

    @torch.no_grad()
    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Probabilities `[B, K]` of each network by name, and their mean as `ensemble` if two.

        Args:
            images: uint8 `[B, C, H, W]`, or floats in [0, 1], on the networks' device; of a run on
                features those, floats `[B, D]`.

        Raises:
            InputError: images of another number of channels, or of features.
        """
        if self.takes_features:
            images = images.float().reshape(*images.shape[:2], 1, 1)
        elif images.dtype != torch.uint8:
            images = (images * 255).round().clamp(0, 255).to(torch.uint8)
        if images.ndim != 4 or images.shape[1] != self.image_shape[0]:
            wanted = ", ".join(map(str, ("B", *self.image_shape)))
            raise InputError(f"images must be [{wanted}], got {list(images.shape)}")
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
    about, state = checkpoint["pmnar"], checkpoint["state_dict"]
    keys = {"shape": "image_shape", "mean": "mean", "std": "std"}  # of a run from before `input`
    given = about.get("input") or {k: plain(config.dataset[key]) for k, key in keys.items()}
    method = make_method(
        config,
        labels=state["labels"],
        class_names=tuple(about["class_names"]),
        test_names=("test",),
        channels=given["shape"][0],
        compute=Compute(),
        weights_follow=True,
    )
    method.load_state_dict(state)
    normalize = Normalize(given["mean"], given["std"])
    return Classifier(method, config, given["shape"], normalize).to(device)
