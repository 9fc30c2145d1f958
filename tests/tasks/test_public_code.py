"""What papers and public code choose beside numbers: a schedule, the constants of images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "scheduler").glob("*.yaml"))
Composed = Callable[..., DictConfig]

SCHEDULES: dict[tuple[str, str], dict[str, Any]] = {
    # the papers' learning rates over the epochs, where they are not the data set's, or the method's
    ("elr", "cifar10"): {"T_0": 10, "eta_min": 1e-3},
    ("elr", "cifar100"): {"milestones": [80, 120], "gamma": 0.01},
    ("unicon", "cifar100"): {"T_max": 280, "eta_min": 2e-4},
    ("unicon", "tiny_imagenet"): {"milestones": [200, 400], "gamma": 0.1},
    ("unicon", "mini_webvision"): {"milestones": [60], "gamma": 0.1},
    ("sop_plus", "cifar10"): {"T_max": 300, "eta_min": 2e-4},
    ("unicon", "mnist"): {"T_max": 60, "eta_min": 0.0},
    ("elr", "mnist"): {"milestones": [40, 50], "gamma": 0.1},
    ("elr", "digits"): {"T_max": 80, "eta_min": 0.0},
}


@pytest.mark.parametrize(("method", "dataset"), SCHEDULES)
def test_a_paper_may_choose_the_scheduler(composed: Composed, method: str, dataset: str) -> None:
    scheduler = composed(f"method={method}", f"dataset={dataset}").scheduler
    found = {key: value for key, value in scheduler.items() if not str(key).startswith("_")}
    assert found == SCHEDULES[method, dataset]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_typed_scheduler_beats_the_papers(composed: Composed, name: str, order: slice) -> None:
    file = OmegaConf.load(CONF / "scheduler" / f"{name}.yaml")
    for method, dataset in [("elr", "cifar10"), ("unicon", "tiny_imagenet"), ("elr", "digits")]:
        typed = [f"scheduler={name}", f"method={method}", f"dataset={dataset}"]
        scheduler = composed(*typed[order]).scheduler
        assert OmegaConf.to_container(scheduler) == OmegaConf.to_container(file)


def test_a_key_of_a_papers_scheduler_may_be_typed(composed: Composed) -> None:
    cfg = composed("method=elr", "dataset=cifar10", "scheduler.T_0=20")
    assert cfg.scheduler.T_0 == 20


def test_whoever_overrides_the_scheduler_leaves_papers_the_first_word() -> None:
    """Method or data set: without the resolver its choice would beat theirs."""
    found = 0
    for path in [*(CONF / "method").glob("*.yaml"), *(CONF / "dataset").glob("*.yaml")]:
        file = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        assert isinstance(file, dict)
        entries = [each for each in file.get("defaults", []) if isinstance(each, dict)]
        for value in (v for e in entries for key, v in e.items() if "/scheduler" in str(key)):
            assert str(value).startswith("${of_paper:${method},${dataset},"), path
            found += 1
    assert found


NORMALISED = {
    # as in public code: mean, standard deviation
    ("cifar10", "ours"): ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    ("cifar10", "dividemix"): ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    ("cifar10", "elr"): ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    ("cifar100", "ours"): ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
    ("cifar100", "dividemix"): ([0.507, 0.487, 0.441], [0.267, 0.256, 0.276]),
    ("cifar100", "elr"): ([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
}


@pytest.mark.parametrize(("dataset", "name"), NORMALISED)
def test_images_are_normalised_as_in_public_code_where_it_is_asked_for(
    composed: Composed, dataset: str, name: str
) -> None:
    asked = [] if name == "ours" else [f"dataset.normalisation={name}"]
    found = composed(f"dataset={dataset}", *asked).dataset
    assert (found.mean, found.std) == NORMALISED[dataset, name]
    typed = composed(f"dataset={dataset}", *asked, "dataset.std=[1,1,1]").dataset
    assert (typed.mean, typed.std) == (NORMALISED[dataset, name][0], [1, 1, 1])


def test_constants_of_code_that_is_not_known_are_refused(refuse: Callable[..., str]) -> None:
    told = "dataset.normalisation must be one of ours, dividemix, elr, got theirs"
    assert refuse("dataset=cifar10", "dataset.normalisation=theirs") == told
