"""Every `conf/dataset/*.yaml` gives a source that can be made, and a recipe that is consistent."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

CONF = Path(__file__).parents[3] / "conf"
NAMES = sorted(path.stem for path in (CONF / "dataset").glob("[!_]*.yaml"))


def read(name: str) -> dict[str, Any]:
    """The resolved config of a data set, over what all have in common, with its defaults list.

    In that list `${of_paper:…,choice}` is the choice: what Hydra takes unless a paper says more.
    """
    own: Any = OmegaConf.load(CONF / "dataset" / f"{name}.yaml")
    defaults: Any = OmegaConf.to_container(own.pop("defaults"))
    base: Any = OmegaConf.load(CONF / "dataset" / "_base.yaml") if "_base" in defaults else {}
    dataset = OmegaConf.merge(base, own)
    root = OmegaConf.create({"data_dir": "some/folder", "dataset": dataset})
    if OmegaConf.is_missing(root.dataset.source, "data_dir"):
        root.dataset.source.data_dir = "${data_dir}"
    resolved: Any = OmegaConf.to_container(root.dataset, resolve=True)
    return {**resolved, "defaults": defaults}


def warm_up_on(name: str) -> int:
    """PMNAR's warm-up: its own, or what its paper says for the data set."""
    its_own = OmegaConf.load(CONF / "method" / "pmnar.yaml")
    paper = CONF / "paper" / f"pmnar_{name}.yaml"
    found = OmegaConf.load(paper).method if paper.is_file() else its_own
    return int(found.warmup_epochs)


def test_all_nine_are_there() -> None:
    assert NAMES == [
        "cifar10",
        "cifar100",
        "digits",
        "fashion_mnist",
        "features",
        "image_folder",
        "mini_webvision",
        "mnist",
        "tiny_imagenet",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_source_is_made_from_the_config(name: str) -> None:
    config = read(name)
    options = dict(config["source"])
    module, _, kind = options.pop("_target_").rpartition(".")
    source = getattr(importlib.import_module(module), kind)(**options)
    assert source.name == config["name"] == name
    if hasattr(source, "decoder"):
        shape = [source.decoder.channels, source.decoder.size, source.decoder.size]
        assert config["image_shape"] == shape


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_consistent(name: str) -> None:
    config = read(name)
    recipe = config["recipe"]
    assert warm_up_on(name) < recipe["milestones"][0] < recipe["milestones"][1]
    assert recipe["milestones"][1] < recipe["max_epochs"]
    if name == "features":  # which are known from the file alone
        assert (config["mean"], config["std"], config["image_shape"]) == (None, None, None)
        assert set(config["views"]) == {"jitter", "dropout"}
        base = set(OmegaConf.load(CONF / "dataset" / "_base.yaml"))
        assert base <= set(OmegaConf.load(CONF / "dataset" / "features.yaml"))
    else:
        assert len(config["mean"]) == len(config["std"]) == config["image_shape"][0]
        assert config["views"]["padding"] < config["image_shape"][1]
        assert config["defaults"][0] == "_base"
    given = [entry for entry in config["defaults"] if isinstance(entry, dict)]
    chosen = {key: name for entry in given for key, name in entry.items()}
    assert "override /network@_global_.network" in chosen
    for key, name in chosen.items():
        group = key.rsplit(".", 1)[-1]
        choice = name.removesuffix("}").rpartition(",")[2]
        assert (CONF / group / f"{choice}.yaml").is_file()
