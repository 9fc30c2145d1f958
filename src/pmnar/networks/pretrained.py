"""Beginnings: a timm model's weights from a file, and the stages of it that stay as they are."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pmnar.errors import InputError

ENDINGS = (".safetensors", ".pt", ".pth", ".bin")


def load_weights(model: nn.Module, file: str) -> None:
    """Let a timm model begin with the weights in a file, all but those of another classifier.

    Args:
        model: with K outputs; where the file's classifier has others, its own stays.
        file: .safetensors, or a state dict by `torch.save`, alone or as `state_dict` or `model`;
            nothing in it is unpickled but tensors.

    Raises:
        InputError: there is no such file, or what it holds does not fit the model.
    """
    found, own = read_weights(file), model.state_dict()
    for name in _classifier(model, own):
        if name not in found or found[name].shape != own[name].shape:
            found[name] = own[name]
    told = f"network.weights={file}"
    for lacks, names in (
        ("it has no", own.keys() - found.keys()),
        ("the model has no", found.keys() - own.keys()),
    ):
        if names:
            raise InputError(f"{told}: {lacks} {min(names)} (one of {len(names)})")
    for name, value in own.items():
        if found[name].shape != value.shape:
            shapes = f"{list(value.shape)}, got {list(found[name].shape)}"
            raise InputError(f"{told}: {name} must have the shape {shapes}")
    model.load_state_dict(found)


def read_weights(file: str) -> dict[str, Tensor]:
    """Tensors by name.

    Raises:
        InputError: there are none.
    """
    path, told = Path(file), f"network.weights={file}"
    if path.suffix not in ENDINGS:
        raise InputError(f"{told} must end in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise InputError(f"network.weights: there is no file {file}")
    content: Any
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            content = load_file(path)
        except SafetensorError as error:
            raise InputError(f"{told} cannot be read: {error}") from error
    else:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            raise InputError(f"{told} holds more than tensors, or is cut off") from error
        for key in ("state_dict", "model"):
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
                content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{told} must hold tensors by name, got a {type(content).__name__}")
    if strange := [key for key, value in content.items() if not isinstance(value, Tensor)]:
        raise InputError(f"{told} must hold tensors by name; {strange[0]} is none")
    return dict(content)


def freeze(model: nn.Module, stages: bool | int) -> None:
    """Let a timm model's first stages stay as they are, BatchNorm's statistics with them.

    Args:
        model: one with stages as timm groups them: the stem, then a ResNet's four, or a
            transformer's blocks.
        stages: how many, the stem being the first; True: all but the classifier.

    Raises:
        InputError: the model has not so many, or none that timm knows.
    """
    names = [name for name, _ in model.named_parameters()]
    if stages is True:
        frozen = set(names) - set(_classifier(model, names))
    else:
        groups = _stages(model)
        if isinstance(stages, float) or not 1 <= stages < len(groups):
            allowed = f"true, false or in [1, {len(groups) - 1}]"
            raise InputError(f"network.freeze must be {allowed} for this model, got {stages}")
        frozen = {name for group in groups[:stages] for name in group}
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    _freeze_statistics(model)


def _stages(model: nn.Module) -> list[list[str]]:
    """The names of the parameters of each, from the images on."""
    from timm.models import group_parameters

    known: Any = model
    if not hasattr(model, "group_matcher"):
        raise InputError("network.freeze must be true or false: timm knows no stages of this model")
    groups = group_parameters(model, known.group_matcher(coarse=True))
    return [groups[number] for number in sorted(groups)]


def _classifier(model: nn.Module, names: Any) -> list[str]:
    """Which of the names are its classifier's."""
    known: Any = model
    own = {id(value) for value in known.get_classifier().state_dict(keep_vars=True).values()}
    values = model.state_dict(keep_vars=True)
    return [name for name in names if id(values[name]) in own]


def _freeze_statistics(model: nn.Module) -> None:
    """Let BatchNorm whose weights are frozen go by its running statistics, in training too."""
    from timm import layers

    of_timm: Any = layers
    for path, module in list(model.named_modules()):
        if isinstance(module, _BatchNorm) and not any(
            parameter.requires_grad for parameter in module.parameters()
        ):
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, of_timm.freeze_batch_norm_2d(module))
