"""What `recipe=` and `minutes=` choose, and that it is kept, found again and gone on with."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import official_data
import pytest
import torch
import yaml
from every import METHODS
from hydra.utils import get_class
from omegaconf import DictConfig
from processes import QUIET, Result

from pmnar.errors import InputError
from pmnar.tasks import choose, sizes
from pmnar.tasks.choose import Choice, is_small, with_choice
from pmnar.tasks.train import train

Composed = Callable[..., DictConfig]
Command = Callable[..., Result]
FEW = (*QUIET, "dataset.train_subset=100", "network.width=8", "scheduler=multistep")


def config_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return found


def networks_of(run: Path) -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    found: dict[str, torch.Tensor] = content["state_dict"]
    return found


def only_run(runs: Path, method: str) -> Path:
    (found,) = runs.glob(f"digits/*/{method}/*")
    return found


@pytest.fixture
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of five epochs."""
    monkeypatch.setattr(sizes, "FEWEST", 5)
    monkeypatch.setattr(sizes, "MOST", 5)


@pytest.mark.parametrize("recipe", ["tiny", 1, None])
def test_an_unknown_recipe_is_refused(refuse: Callable[..., str], recipe: object) -> None:
    text = refuse(f"recipe={'null' if recipe is None else recipe}")
    assert text == f"recipe must be one of paper, small, auto, got {recipe}"


@pytest.mark.parametrize("minutes", ["0", "-1", "soon", "true", ".inf", ".nan"])
def test_minutes_are_a_number_over_zero(refuse: Callable[..., str], minutes: str) -> None:
    assert refuse(f"minutes={minutes}").startswith("minutes must be null or a number over 0, got ")


def test_half_of_the_recipes_images_are_few(composed: Composed) -> None:
    cfg = composed("dataset=cifar10", "recipe=auto")
    assert [is_small(cfg, n) for n in (24_999, 25_000)] == [True, False]
    assert not is_small(composed("dataset=cifar10"), 100)
    assert is_small(composed("dataset=cifar10", "recipe=small"), 50_000)
    assert is_small(composed("dataset=image_folder"), 10**6)  # nobody knows what it was made for


def test_what_is_chosen_is_what_the_images_want(
    composed: Composed, runs: Path, short_epochs: None
) -> None:
    typed = {"network.width", "dataset.train_subset"}
    cfg = composed(*FEW, "recipe=small", f"runs_dir={runs}")
    run = Path(train(cfg, typed=typed)["run"])
    kept = config_of(run)
    assert kept["data"]["batch_size"] == sizes.batch_size(100) == 8
    assert kept["trainer"]["max_epochs"] == 5
    assert kept["scheduler"]["milestones"] == sizes.milestones(5)
    assert kept["method"]["warmup_epochs"] == 2
    assert kept["network"]["width"] == 8
    for text in kept["chosen"]:
        key, _, value = text.partition("=")
        found: Any = kept
        for part in key.split("."):
            found = found[part]
        assert found == yaml.safe_load(value), key


def test_a_single_epoch_stays_one(composed: Composed, runs: Path, short_epochs: None) -> None:
    """Of a method that has nothing to train."""
    train(composed(*FEW, f"runs_dir={runs}", "method=knn", "recipe=small"), typed=())
    found = config_of(only_run(runs, "knn"))
    assert (found["trainer"]["max_epochs"], found["data"]["batch_size"]) == (1, 8)


def test_what_is_typed_stays(composed: Composed, runs: Path, short_epochs: None) -> None:
    own = ("data.batch_size=20", "scheduler.milestones=[1]", "method.warmup_epochs=1")
    cfg = composed(*FEW, *own, "trainer.max_epochs=2", "recipe=small", f"runs_dir={runs}")
    typed = {text.partition("=")[0] for text in own} | {"trainer.max_epochs"}
    kept = config_of(Path(train(cfg, typed=typed)["run"]))
    assert kept["data"]["batch_size"] == 20
    assert kept["scheduler"]["milestones"] == [1]
    assert kept["method"]["warmup_epochs"] == 1
    assert kept["trainer"]["max_epochs"] == 2
    assert not typed & {text.partition("=")[0] for text in kept["chosen"]}


def test_a_run_that_chose_is_found_resumed_and_compared(
    command: Command, runs: Path, short_epochs: None
) -> None:
    same = (*FEW, "recipe=small", f"runs_dir={runs}")
    done = command("train", *same, "compare=pm")
    assert done.code == 0, done.err
    first, other = only_run(runs, "pmnar"), only_run(runs, "pm")
    chosen = [text for text in config_of(first)["chosen"] if not text.startswith("method.")]
    assert [t for t in config_of(other)["chosen"] if not t.startswith("method.")] == chosen
    again = command("train", *same, "compare=pm", "skip_done=true")
    assert again.code == 0, again.err
    assert again.out.count("skipped: ") == 2
    assert only_run(runs, "pm") == other
    longer = command("train", *QUIET, f"resume={first}", "trainer.max_epochs=6")
    assert longer.code == 0, longer.err
    assert json.loads((first / "summary.json").read_text("utf-8"))["epochs"] == 6
    assert config_of(first)["chosen"][: len(chosen)]


def test_enough_minutes_change_nothing(composed: Composed, runs: Path) -> None:
    """Measuring moves no random number, and leaves no trace in what is trained."""
    few = (*FEW, "dataset.recipe.max_epochs=2", "method.warmup_epochs=1", f"runs_dir={runs}")
    plain = Path(train(composed(*few), typed=())["run"])
    timed = Path(train(composed(*few, "minutes=1000"), typed=())["run"])
    assert config_of(timed)["trainer"]["max_epochs"] == 2
    before, after = networks_of(plain), networks_of(timed)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_too_few_minutes_shorten_a_run_and_say_so(
    composed: Composed,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By a pace of thirty seconds an epoch, four epochs fit into two minutes."""
    monkeypatch.setattr(choose, "seconds_of_an_epoch", lambda *_: 30.0)
    kept = config_of(Path(train(composed(*FEW, "minutes=2", f"runs_dir={runs}"), typed=())["run"]))
    assert kept["trainer"]["max_epochs"] == 4
    assert kept["method"]["warmup_epochs"] == 2
    assert kept["scheduler"]["milestones"] == sizes.scaled([50, 65], 80, 4)
    told = capsys.readouterr().out
    assert (
        "estimate about 2 minutes (30 s an epoch × 4); the recipe has 80 epochs, 40 minutes" in told
    )
    assert "over the 6 s of minutes=" in choose.describe_time(30.0, 1, 80, 6.0)


@pytest.mark.parametrize(("typed", "cycle"), [((), 4), (("scheduler.T_0=3",), 3)])
def test_a_run_does_not_end_in_the_midst_of_a_cycle(
    composed: Composed, runs: Path, monkeypatch: pytest.MonkeyPatch, typed: tuple[str], cycle: int
) -> None:
    monkeypatch.setattr(choose, "seconds_of_an_epoch", lambda *_: 30.0)
    asked = (*FEW[:-1], "scheduler=restarts", "method=ce", "minutes=2", f"runs_dir={runs}", *typed)
    keys = [text.partition("=")[0] for text in typed]
    kept = config_of(Path(train(composed(*asked), typed=keys)["run"]))
    assert (kept["trainer"]["max_epochs"], kept["scheduler"]["T_0"]) == (4, cycle)


def test_several_devices_cannot_measure(composed: Composed) -> None:
    cfg = composed(*FEW, "minutes=5", "trainer.devices=2", "recipe=small")
    with pytest.raises(InputError, match=r"minutes=5 needs trainer\.devices=1"):
        train(cfg, typed=())


def test_a_folder_has_images_of_a_size_and_a_network_by_what_it_holds(
    composed: Composed, runs: Path, tmp_path: Path, short_epochs: None
) -> None:
    official_data.write_image_folder(tmp_path / "images", side=16)
    own = (*QUIET, "dataset=image_folder", f"data_dir={tmp_path / 'images'}", "noise=clean")
    kept = config_of(Path(train(composed(*own, f"runs_dir={runs}"), typed={"data_dir"})["run"]))
    assert kept["dataset"]["source"]["image_size"] == 16
    assert kept["dataset"]["views"]["padding"] == 2
    network = sizes.networks(16)[sizes.network_for(30, 3, len(sizes.networks(16)))]
    assert (kept["network"]["width"], kept["network"]["stem_stride"]) == network


@pytest.mark.parametrize("name", METHODS)
def test_no_methods_beginning_or_stages_outlast_a_short_run(composed: Composed, name: str) -> None:
    cfg = composed(f"method={name}", "recipe=small")
    Choice(cfg, ())._put_epochs(12, int(cfg.dataset.recipe.max_epochs), 20, small=True)
    stages = [key for key in cfg.method if key.endswith("_epochs") and key not in choose.BEGINNINGS]
    assert all(cfg.method[key] <= 6 for key in choose.BEGINNINGS if key in cfg.method)
    lengths = [cfg.method[key] for key in stages]
    assert sum(lengths) <= 12 + lengths.count(1)  # each has one at least


def test_methods_of_one_epoch_and_of_many_are_compared_each_in_its_own(
    command: Command, runs: Path, short_epochs: None
) -> None:
    done = command("train", *FEW, "recipe=small", f"runs_dir={runs}", "method=knn", "compare=ce")
    assert done.code == 0, done.err
    epochs = [config_of(only_run(runs, m))["trainer"]["max_epochs"] for m in ("knn", "ce")]
    assert epochs == [1, 5]


def test_skip_done_takes_no_run_of_another_choice(
    command: Command, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier run of the second method alone may have chosen otherwise."""
    same = (*FEW, "recipe=small", f"runs_dir={runs}")
    for most, words in ((2, ["method=pm"]), (3, ["compare=pm", "skip_done=true"])):
        monkeypatch.setattr(sizes, "FEWEST", most)
        monkeypatch.setattr(sizes, "MOST", most)
        assert command("train", *same, *words).code == 0
    epochs = [config_of(run)["trainer"]["max_epochs"] for run in runs.glob("digits/*/pm/*")]
    assert sorted(epochs) == [2, 3]


@pytest.mark.parametrize("value", ["0", "abc", "2.5"])
def test_a_batch_size_that_is_none_is_refused_before_anything_is_chosen(
    refuse: Callable[..., str], composed: Composed, value: str
) -> None:
    cfg = composed(*FEW, "recipe=small", f"data.batch_size={value}")
    with pytest.raises(InputError, match=r"data\.batch_size must be .*at least 1.*, got"):
        train(cfg, typed={"data.batch_size"})


@pytest.mark.parametrize("width", [8, 16, 64])
def test_a_typed_width_keeps_the_stem_of_so_many_images(composed: Composed, width: int) -> None:
    cfg = composed("dataset=cifar10", f"network.width={width}", "recipe=small")
    images: Any = SimpleNamespace(images=torch.empty(1, 3, 32, 32))
    data: Any = SimpleNamespace(splits={"train": images})
    choices = Choice(cfg, {"network.width"})._networks(data)
    at = sizes.network_for(3000, 10, len(choices))
    assert choices[at] == {"network.width": width, "network.stem_stride": 2}


@pytest.mark.parametrize("name", METHODS)
def test_each_schedule_of_a_short_run_falls_within_its_stage(composed: Composed, name: str) -> None:
    """Also what begins later begins, and what is ramped over steps comes to its end."""
    cfg = composed(f"method={name}", "scheduler=multistep", "recipe=small")
    kind = get_class(cfg.method._target_)
    Choice(cfg, ())._put_epochs(12, int(cfg.dataset.recipe.max_epochs), 20, small=True)
    assert max(cfg.scheduler.milestones) < 12 / getattr(kind, "schedules", 1)
    later = [cfg.method[key] for key in cfg.method if str(key).endswith("_after")]
    assert all(epoch <= 6 for epoch in later)
    assert cfg.method.get("average_ramp", 0) <= 12 * 20 / 2


@pytest.mark.parametrize("name", METHODS)
def test_enough_minutes_put_nothing(composed: Composed, name: str) -> None:
    cfg = composed(f"method={name}", "dataset=cifar10")
    choice, configured = Choice(cfg, ()), int(cfg.dataset.recipe.max_epochs)
    choice._put_epochs(configured, configured, 391, small=False)
    assert choice.chosen == []


def test_a_choice_is_repeated_but_for_what_is_typed(composed: Composed) -> None:
    cfg = composed()
    chosen = ["data.batch_size=16", "scheduler.milestones=[2,3]", "dataset.recipe.max_epochs=4"]
    again = with_choice(cfg, chosen, {"dataset.recipe.max_epochs"})
    assert again.data.batch_size == 16
    assert again.scheduler.milestones == [2, 3]
    assert again.trainer.max_epochs == 80
    assert again.chosen == chosen[:2]
    assert cfg.data.batch_size == 64
