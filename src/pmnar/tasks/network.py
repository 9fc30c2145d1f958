"""From the configuration to a network, and what it must be."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from pmnar.errors import InputError
from pmnar.networks.timm_bridge import size_advice
from pmnar.tasks.instances import instantiated
from pmnar.tasks.mistakes import first_line

PRETRAINED = ContextVar("PRETRAINED", default=True)
"""Whether a network may begin with others' weights, where its settings say so."""
BEGINNINGS = {"pretrained": False, "weights": None}
"""These settings, and what they are without."""


@contextmanager
def without_pretrained(without: bool) -> Iterator[None]:
    """Around the making of networks whose weights come from a checkpoint, if `without`.

    A network that is made later, while the run trains, begins with them all the same.
    """
    token = PRETRAINED.set(not without and PRETRAINED.get())
    try:
        yield
    finally:
        PRETRAINED.reset(token)


def begins_trained(settings: Mapping[Any, Any]) -> bool:
    """Whether a network of these settings is one of timm's that was trained on other images."""
    of_timm = str(settings.get("_target_")).endswith(".timm_network")
    return of_timm and any(settings.get(key) for key in BEGINNINGS)


def build_network(settings: dict[str, Any], num_classes: int, in_channels: int) -> nn.Module:
    """The network of these settings, for images of C channels and K classes.

    Raises:
        InputError: there is none.
    """
    if not PRETRAINED.get():
        without = {key: none for key, none in BEGINNINGS.items() if settings.get(key)}
        settings = settings | without
    network = instantiated("network", settings, num_classes=num_classes, in_channels=in_channels)
    if not isinstance(network, nn.Module):
        raise InputError(f"network._target_={settings['_target_']} makes no torch.nn.Module")
    return network


@torch.no_grad()
def check_network(network: nn.Module, images: Tensor, num_classes: int) -> None:
    """Raise `InputError` unless the network turns images `[B, C, H, W]` into logits `[B, K]`.

    In training too: there some have further outputs. Two images are what a rank gets at least.
    """
    for training in (False, True):
        network.train(training)
        try:
            with torch.random.fork_rng(devices=[]):  # dropout draws
                logits = network(images.float() / 255)
        except Exception as error:  # anybody's network: there is no knowing which
            reason, shape = first_line(error).rstrip("."), list(images.shape[1:])
            raise InputError(
                f"network: it cannot take images of shape {shape}: {reason}"
                f"{size_advice(network, shape[-1])}"
            ) from error
        check_logits(logits, len(images), num_classes)


def check_logits(logits: Any, size: int, num_classes: int) -> None:
    """Raise `InputError` unless a network's output for `size` images is logits `[size, K]`."""
    if not isinstance(logits, Tensor):
        kind = type(logits).__name__
        raise InputError(f"network: its output must be one tensor of logits, got a {kind}")
    found = tuple(logits.shape)
    if found != (size, num_classes):
        raise InputError(
            f"network: its output must be [batch, {num_classes}] for {num_classes} classes, "
            f"got {list(found)} for a batch of {size}"
        )
