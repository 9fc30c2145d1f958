"""Keys that have moved: what is typed is told the new one, what an older run holds is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import DictConfig
from processes import Result

from pmnar.tasks.command import plain
from pmnar.tasks.find import earlier_run
from pmnar.tasks.moved import MOVED, under_new_keys

Command = Callable[..., Result]
Composed = Callable[..., DictConfig]
Run = Callable[..., Path]


@pytest.mark.parametrize("typed", ["{}=2", "+{}=2", "++{}=2", "-m {}=2", "resume=somewhere {}=2"])
@pytest.mark.parametrize("key", MOVED)
def test_a_key_of_before_is_told_the_one_of_now(command: Command, key: str, typed: str) -> None:
    result = command("train", *typed.format(key).split())
    assert result.code == 2
    assert result.err == f"error: {key} is called {MOVED[key]} now: type {MOVED[key]}=2\n"
    assert result.out == ""


def test_every_key_of_now_is_there(composed: Composed) -> None:
    cfg: Any = composed()
    for key in MOVED.values():
        node = cfg
        for name in key.split("."):
            assert name in node, key
            node = node[name]


def test_what_a_paper_says_is_not_chosen_by_itself(command: Command) -> None:
    result = command("train", "paper=pmnar_cifar100")
    assert result.code == 2
    assert "paper=pmnar_cifar100: this follows method and dataset" in result.err


@pytest.mark.parametrize("add", ["", "++"])
def test_nor_is_its_scheduler(command: Command, add: str) -> None:
    """The group is: a value typed here would change nothing."""
    key = f"{add}dataset.recipe.scheduler"
    result = command("train", "method=elr", "dataset=cifar10", f"{key}=cosine")
    assert result.code == 2
    assert result.err == f"error: {key}=cosine: this says what a paper has; type scheduler=cosine\n"


def older(config: Any) -> Any:
    """What an earlier version wrote for the same run."""
    config["dataset"]["recipe"] |= {"beta": 1.0, "warmup_epochs": 10}
    config["dataset"]["resident"] = "auto"
    return config | config.pop("compute")


def test_an_older_runs_file_is_read_under_the_keys_of_now(composed: Composed) -> None:
    now = plain(composed("method=co_teaching"))
    assert under_new_keys(older(plain(composed("method=co_teaching")))) == now
    assert under_new_keys(under_new_keys(now)) == now
    assert under_new_keys(None) is None
    assert under_new_keys({"dataset": 3, "trainer": []}) == {"dataset": 3, "trainer": []}


def test_an_older_run_is_found(short_run: Run, short: tuple[str, ...], composed: Composed) -> None:
    folder = short_run("trainer.max_epochs=1")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(older(yaml.safe_load(path.read_text()))))
    root = folder.parents[3]
    assert earlier_run(composed(*short, f"runs_dir={root}", "trainer.max_epochs=1")) == folder


def test_an_older_run_goes_on_and_is_evaluated(
    short_run: Run, command: Command, rows: Callable[[Path], Any]
) -> None:
    """Its configuration, in the folder and in the checkpoint, has the keys of before."""
    whole, halved = (short_run(f"trainer.max_epochs={epochs}") for epochs in (3, 2))
    path, last = halved / "config.yaml", halved / "checkpoints" / "last.ckpt"
    path.write_text(yaml.safe_dump(older(yaml.safe_load(path.read_text()))))
    content = torch.load(last, weights_only=True)
    content["pmnar"]["config"] = older(content["pmnar"]["config"])
    torch.save(content, last)
    evaluated = command("evaluate", f"run={halved}", "accelerator=cpu")
    assert evaluated.code == 0, evaluated.err
    resumed = command("train", f"resume={halved}", "trainer.max_epochs=3", "data.resident=host")
    assert resumed.code == 0, resumed.err
    assert "changed  data.resident: auto → host\n" in resumed.out
    assert rows(halved) == rows(whole)
    assert set(yaml.safe_load(path.read_text())) == set(
        yaml.safe_load((whole / "config.yaml").read_text())
    )
