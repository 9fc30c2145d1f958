"""Models of timm that begin with weights from a file, and stages that stay as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pmnar.errors import InputError
from pmnar.networks import timm_network
from pmnar.networks.timm_bridge import images_of

pytest.importorskip("timm")
NAME = "resnet10t"
CLASSIFIER = {"fc.weight", "fc.bias"}


def save(kind: str, content: dict[str, Any], folder: Path) -> str:
    path = folder / f"w.{kind}"
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(content, path)
    else:
        torch.save(content, path)
    return str(path)


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A state dict of another number of classes, with running statistics of its own."""
    torch.manual_seed(5)
    network = timm_network(4, 1, NAME).train()
    network(torch.rand(8, 1, 32, 32))
    return dict(network.state_dict())


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_a_file_is_the_beginning_but_for_another_classifier(
    kind: str, wrapped: bool, published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    if wrapped and kind == "safetensors":
        pytest.skip("holds tensors alone")
    file = save(kind, {"state_dict": published} if wrapped else published, tmp_path)
    found = timm_network(7, 1, NAME, weights=file).state_dict()
    assert {n for n, v in found.items() if not torch.equal(v, published[n])} == CLASSIFIER
    assert found["fc.weight"].shape[0] == 7
    found = timm_network(4, 1, NAME, weights=file).state_dict()
    assert all(torch.equal(value, published[name]) for name, value in found.items())


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "less": (lambda own: {k: v for k, v in own.items() if k != "bn1.weight"}, "it has no bn1.wei"),
    "more": (lambda own: own | {"x": torch.ones(1)}, r"the model has no x \(one of 1\)"),
    "shape": (lambda own: own | {"bn1.weight": torch.ones(3)}, r"shape \[64\], got \[3\]"),
    "number": (lambda own: own | {"bn1.weight": 3}, "tensors by name; bn1.weight is none"),
    "list": (lambda own: [1], "must hold tensors by name, got a list"),
    "pickle": (lambda own: {"x": Path}, "holds more than tensors, or is cut off"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_does_not_fit_is_told(
    what: str, published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    change, message = BAD[what]
    file = save("pt", change(published), tmp_path)
    with pytest.raises(InputError, match=rf"^network\.weights=.*w\.pt.* {message}"):
        timm_network(4, 1, NAME, weights=file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "no.pt"}, r"network\.weights: there is no file no\.pt"),
        ({"weights": "a.txt"}, r"network\.weights=a\.txt must end in \.safetensors, \.pt"),
        ({"weights": "a.pt", "pretrained": True}, "takes the place of network.pretrained=true"),
        ({"freeze": 6}, r"network\.freeze must be true, false or in \[1, 5\] .*, got 6"),
        ({"freeze": 0}, "got 0"),
        ({"freeze": 1.5}, "got 1.5"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        timm_network(4, 1, NAME, **settings)


def test_a_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    for kind in ("pt", "safetensors"):
        path = tmp_path / f"w.{kind}"
        path.write_bytes(b"PK\x03\x04 and no more")
        with pytest.raises(InputError, match=r"w\.\w+ (cannot be read|holds more)"):
            timm_network(4, 1, NAME, weights=str(path))


@pytest.mark.parametrize(
    ("stages", "frozen"),
    [
        (1, ("conv1", "bn1")),
        (3, ("conv1", "bn1", "layer1", "layer2")),
        (True, ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")),
    ],
)
def test_frozen_stages_stay_as_they_are_and_the_others_learn(
    stages: bool | int, frozen: tuple[str, ...]
) -> None:
    torch.manual_seed(1)
    network = timm_network(4, 1, NAME, freeze=stages, zero_init_last=False).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    step(network)
    after = network.state_dict()
    for name, value in before.items():
        if name.endswith("num_batches_tracked"):
            continue
        stays = name.startswith(frozen)
        assert torch.equal(after[name], value) == stays, name


def step(network: nn.Module) -> None:
    """One, with all that SGD does to what it is given."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.9, weight_decay=0.01)
    loss = nn.functional.cross_entropy(network(torch.rand(8, 1, 64, 64)), torch.arange(8) % 4)
    torch.autograd.backward(loss)
    optimizer.step()


def test_a_transformer_s_blocks_are_its_stages() -> None:
    network = timm_network(4, 3, "vit_tiny_patch16_224", freeze=2, img_size=32)
    learning = {n.split(".")[1] for n, p in network.named_parameters() if p.requires_grad}
    assert "0" not in learning
    assert {"1", "11"} <= learning
    assert not any(p.requires_grad for p in network.get_submodule("patch_embed").parameters())


def test_images_are_those_of_the_published_weights() -> None:
    found = images_of("vit_tiny_patch16_224", 3)
    assert found is not None
    assert found == ([0.5] * 3, [0.5] * 3, 224)
    gray = images_of("resnet18", 1)
    assert gray is not None
    assert gray.mean == [pytest.approx((0.485 + 0.456 + 0.406) / 3)]
    assert images_of("no_such_model", 3) is None
