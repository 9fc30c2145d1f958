"""Every choice of every group composes with every other that fits; the recipes are the paper's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.errors import HydraException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from toy import make_data, make_setting

from pmnar.tasks.command import SCHEDULER

CONF = Path(__file__).parents[2] / "conf"
Composed = Callable[..., DictConfig]


def choices(group: str) -> list[str]:
    """The choices of a group."""
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))


DATASETS = choices("dataset")
NEEDED = {
    "matrix": ["noise.path=matrix.npy"],
    "file": ["noise.path=labels.npz"],
    "image_folder": ["dataset.source.data_dir=images"],
    "features": ["dataset.source.path=features.npz"],
}


def resolved(composed: Composed, *choice: str) -> DictConfig:
    """The configuration of some `group=name`, with what they need, all interpolations resolved."""
    needed = [override for each in choice for override in NEEDED.get(each.split("=")[1], [])]
    cfg = composed(*choice, *needed)
    assert not OmegaConf.missing_keys(cfg)
    OmegaConf.resolve(cfg)
    return cfg


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_choice_of_every_group_composes(composed: Composed, dataset: str) -> None:
    groups = ("noise", "network", "optimizer", "scheduler", "logger")
    names = {group: choices(group) for group in groups}
    # as many as the largest group has, the others in turn: composing takes a while
    largest, methods = max(map(len, names.values())), choices("method")
    assert len(DATASETS) * largest >= len(methods)
    for at in range(largest):
        chosen = {group: each[at % len(each)] for group, each in names.items()}
        # of methods, which become many, each with some of the data sets
        place = DATASETS.index(dataset) * largest + at
        chosen["method"] = methods[place % len(methods)]
        cfg = resolved(composed, f"dataset={dataset}", *(f"{g}={n}" for g, n in chosen.items()))
        assert (cfg.dataset.name, cfg.noise.seed) == (dataset, 1)
        for group, name in chosen.items():
            file = OmegaConf.load(CONF / group / f"{name}.yaml")
            assert isinstance(file, DictConfig)
            assert set(file) - {"defaults"} <= set(cfg[group])


RECIPES = {
    # METHOD.md, "Decisions": warm-up, β, epochs, milestones
    "cifar10": (10, 1.0, 300, [120, 240]),
    "cifar100": (30, 0.5, 300, [120, 240]),
    "tiny_imagenet": (15, 0.5, 300, [120, 240]),
    "mini_webvision": (5, 0.5, 120, [60, 90]),
}


@pytest.mark.parametrize("dataset", RECIPES)
def test_recipe_is_the_papers(composed: Composed, dataset: str) -> None:
    warmup, beta, epochs, milestones = RECIPES[dataset]
    cfg = resolved(composed, f"dataset={dataset}")
    assert (cfg.method.warmup_epochs, cfg.method.beta) == (warmup, beta)
    assert cfg.trainer.max_epochs == epochs
    assert cfg.data.batch_size == 128
    optimizer, scheduler = cfg.optimizer, cfg.scheduler
    assert optimizer._target_ == "torch.optim.SGD"
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.02, 0.9, 5e-4)
    assert (scheduler.milestones, scheduler.gamma) == (milestones, 0.1)
    network = {"_target_": "pmnar.networks.PreActResNet18", "width": 64, "stem_stride": 1}
    assert cfg.network == network | {"shortcut": "activated"}
    views = cfg.dataset.views
    assert (views.padding, views.flip) == (4, True)
    assert (views.strong, views.cutout) == ("autoaugment", 0)
    assert cfg.detection.threshold == 0.5


PUBLISHED = {
    # the papers': batch, learning rate, epochs, warm-up and its batch, α, λ_u
    ("dividemix", "cifar10"): (64, 0.02, 300, 10, 128, 4.0, 25.0),
    ("dividemix", "cifar100"): (64, 0.02, 300, 30, 128, 4.0, 150.0),
    ("dividemix", "mini_webvision"): (32, 0.01, 80, 1, None, 0.5, 0.0),
    ("unicon", "cifar10"): (64, 0.02, 350, 10, 128, 4.0, 30.0),
    ("unicon", "cifar100"): (64, 0.02, 350, 30, 128, 4.0, 30.0),
    ("unicon", "tiny_imagenet"): (64, 0.005, 500, 15, 256, 0.5, 50.0),
    ("unicon", "mini_webvision"): (24, 0.01, 120, 2, None, 0.5, 30.0),
}


@pytest.mark.parametrize(("method", "dataset"), PUBLISHED)
def test_recipes_of_other_papers_are_theirs(composed: Composed, method: str, dataset: str) -> None:
    cfg = resolved(composed, f"method={method}", f"dataset={dataset}")
    own = (cfg.method.warmup_epochs, cfg.method.warmup_batch_size)
    strengths = (cfg.method.alpha, cfg.method.strength)
    found = (cfg.data.batch_size, cfg.optimizer.lr, cfg.trainer.max_epochs, *own, *strengths)
    assert found == PUBLISHED[method, dataset]


def test_uniform_selection_s_rate_is_lowest_at_epoch_280_of_350(composed: Composed) -> None:
    scheduler = resolved(composed, "method=unicon", "dataset=cifar10").scheduler
    assert (scheduler.T_max, scheduler.eta_min) == (280, 2e-4)
    typed = resolved(composed, "method=unicon", "dataset=cifar10", "scheduler=multistep")
    assert typed.scheduler._target_ == "torch.optim.lr_scheduler.MultiStepLR"
    assert "T_max" not in typed.scheduler


def test_data_set_and_noise_alone_are_the_papers_setting(composed: Composed) -> None:
    cfg = resolved(composed, "dataset=cifar100", "noise=asym30")
    assert cfg.noise == {
        "_target_": "pmnar.noise.Asymmetric",
        "rate": 0.3,
        "map": "cifar100",
        "seed": 1,
    }
    literal = {"minimum": "global", "weight_balance": "none", "discard_by": "first"}
    for key, value in {**literal, "detach_target": True, "gradient_clip": None}.items():
        assert cfg.method[key] == value, key
    assert (cfg.method.name, cfg.method.beta, cfg.method.warmup_epochs) == ("pmnar", 0.5, 30)


ABLATIONS = {
    # METHOD.md, "Ablations": loss, reweight, networks
    "ce": ("ce", False, 1),
    "nl": ("nl", False, 1),
    "ml": ("ml", False, 1),
    "pm": ("pm", False, 1),
    "ce_ar": ("ce", True, 1),
    "pm_ar": ("pm", True, 1),
    "pmnar_no_reg": ("pm", True, 2),
    "pmnar": ("pm", True, 2),
}


def test_every_method_is_composed_under_its_own_name(composed: Composed) -> None:
    assert set(ABLATIONS) <= set(choices("method"))
    for name in choices("method"):
        method = resolved(composed, f"method={name}", "dataset=cifar10").method
        assert method.name == name
        assert method.networks in (1, 2)


def test_ablations_are_the_table_s(composed: Composed) -> None:
    for name, row in ABLATIONS.items():
        method = resolved(composed, f"method={name}", "dataset=cifar10").method
        assert (method.name, method.loss, method.reweight, method.networks) == (name, *row)
        assert method.beta == (1.0 if name == "pmnar" else 0.0)
        assert method.warmup_epochs == 10


@pytest.mark.parametrize("recipe", choices("paper"))
def test_a_recipe_is_of_a_method_and_a_data_set_and_in_its_ranges(
    composed: Composed, recipe: str
) -> None:
    [(name, dataset)] = [
        (name, dataset)
        for name in choices("method")
        for dataset in DATASETS
        if f"{name}_{dataset}" == recipe
    ]
    cfg = resolved(composed, f"method={name}", f"dataset={dataset}")
    written = OmegaConf.load(CONF / "paper" / f"{recipe}.yaml")
    assert OmegaConf.merge(cfg, written) == cfg, "something is overwritten again"
    if scheduler := OmegaConf.select(written, SCHEDULER):
        file = OmegaConf.load(CONF / "scheduler" / f"{scheduler}.yaml")
        assert set(cfg.scheduler) == set(file)
    setting = replace(
        make_setting(make_data()),
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
    )
    settings = {str(key): value for key, value in cfg.method.items()}
    for key in ("name", "gradient_clip"):
        settings.pop(key)
    method = get_class(settings.pop("_target_"))(setting, **settings)
    method.configure_optimizers()


@pytest.mark.parametrize("first", [True, False])
def test_network_of_the_command_line_beats_the_data_sets(composed: Composed, first: bool) -> None:
    order = ["network=small_cnn", "dataset=cifar10"]
    cfg = composed(*(order if first else order[::-1]))
    assert cfg.network._target_ == "pmnar.networks.SmallCNN"
    timm = composed("dataset=digits", "network=timm", "network.name=resnet34")
    assert timm.network._target_ == "pmnar.networks.timm_network"


def test_recipe_changes_reach_all_that_follow_it(composed: Composed) -> None:
    cfg = composed("dataset.recipe.batch_size=25", "dataset.recipe.learning_rate=0.1")
    assert (cfg.data.batch_size, cfg.optimizer.lr) == (25, 0.1)
    cosine = composed("scheduler=cosine", "dataset.recipe.max_epochs=7")
    assert (cosine.scheduler.T_max, cosine.trainer.max_epochs) == (7, 7)


@pytest.mark.parametrize("dataset", DATASETS)
def test_pmnars_relatives_have_its_warm_up_and_their_own_beta(
    composed: Composed, dataset: str
) -> None:
    warmup, beta, *_ = RECIPES.get(dataset, (10, 1.0))
    for name in ABLATIONS:
        method = resolved(composed, f"dataset={dataset}", f"method={name}").method
        assert method.warmup_epochs == warmup, name
        assert method.beta == (beta if name == "pmnar" else 0.0), name


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_what_is_typed_beats_the_papers(composed: Composed, order: slice) -> None:
    typed = ["method.beta=2", "method=pmnar", "dataset=cifar100", "method.warmup_epochs=3"]
    method = composed(*typed[order]).method
    assert (method.beta, method.warmup_epochs) == (2, 3)


def test_mistyped_key_is_refused(composed: Composed) -> None:
    with pytest.raises(HydraException, match=r"method\.betta"):
        composed("method.betta=0.5")


def test_command_lines_default_is_pmnar_on_digits(composed: Composed) -> None:
    cfg = composed()
    found = (cfg.dataset.name, cfg.noise.rate, cfg.method.name, cfg.network._target_)
    assert found == ("digits", 0.5, "pmnar", "pmnar.networks.SmallCNN")
    assert cfg.trainer.deterministic is True
    assert (cfg.compare, cfg.resume, cfg.trainer.devices) == (None, None, 1)
