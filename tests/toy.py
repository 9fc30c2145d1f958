"""A run small enough for a test: real digits, a tiny network, the real data module and Trainer."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from pmnar.augment import strong_view, weak_view
from pmnar.data import Batch, ImageData, NoisyDataModule, Split
from pmnar.data.sources import Digits
from pmnar.methods import PMNAR, NoisyLabelMethod, Setting
from pmnar.methods.measurement import Measurement
from pmnar.methods.terms import Losses, by_name
from pmnar.noise import CleanLabels, Noise
from pmnar.noise.base import IntArray
from pmnar.runtime.compute import Compute
from pmnar.samples.complementary import ComplementaryLabels

SIZE, BATCH, SEED = 60, 20, 3
COMPUTE = ("compile", "channels_last", "fused_forward", "two_threads")
SHARED = ("seed", "gradient_clip", "labels", "class_names", "test_names")

ABLATIONS: dict[str, dict[str, Any]] = {
    "ce": {"loss": "ce", "reweight": False, "networks": 1, "beta": 0.0},
    "nl": {"loss": "nl", "reweight": False, "networks": 1, "beta": 0.0},
    "ml": {"loss": "ml", "reweight": False, "networks": 1, "beta": 0.0},
    "pm": {"loss": "pm", "reweight": False, "networks": 1, "beta": 0.0},
    "ce_ar": {"loss": "ce", "reweight": True, "networks": 1, "beta": 0.0},
    "pm_ar": {"loss": "pm", "reweight": True, "networks": 1, "beta": 0.0},
    "pmnar_no_reg": {"loss": "pm", "reweight": True, "networks": 2, "beta": 0.0},
    "pmnar": {"loss": "pm", "reweight": True, "networks": 2, "beta": 1.0},
}
"""METHOD.md's table of ablations, as arguments."""


class Flipped:
    """Noise: every second label becomes the next class."""

    name, nominal_rate = "flipped", 0.5

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        given = clean.labels.copy()
        given[::2] = (given[::2] + 1) % clean.num_classes
        return given


class GivenAsTheyAre:
    """Noise for a source whose labels are untrusted: none."""

    name, nominal_rate = "as they are", None

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        return clean.labels.copy()


@lru_cache(maxsize=1)
def _digits() -> ImageData:
    return Digits().load()


class FewDigits:
    """The first `size` training digits and 30 test digits, under any labels."""

    name = "digits"

    def __init__(
        self, size: int = SIZE, labels: Tensor | None = None, labels_are_true: bool = True
    ) -> None:
        self.size, self.labels, self.labels_are_true = size, labels, labels_are_true

    def prepare(self) -> None:
        """Nothing to do."""

    def load(self) -> ImageData:
        """Two test splits, so that their names are told apart."""
        digits = _digits()
        train, test = digits.train, digits.test["test"]
        labels = train.labels[: self.size] if self.labels is None else self.labels
        return ImageData(
            "digits",
            digits.class_names,
            Split(train.images[: self.size], labels),
            {
                "test": Split(test.images[:30], test.labels[:30]),
                "other": Split(test.images[30:50], test.labels[30:50]),
            },
            self.labels_are_true,
        )


class TinyNet(nn.Module):
    """One convolution, BatchNorm, ReLU, global pooling, a linear layer; any floating dtype."""

    def __init__(self, num_classes: int = 10, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head, self.feature_size = nn.Linear(8, num_classes), 8
        self.to(dtype)

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.norm(self.conv(x.to(self.head.weight.dtype))).relu().mean((2, 3))
        return features

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


class NoNorm(nn.Module):
    """Without BatchNorm, whose statistics are each rank's own; in 64 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, dtype=torch.float64)
        self.head, self.feature_size = nn.Linear(8, 10, dtype=torch.float64), 8

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv(x.double()).relu().mean((2, 3))
        return features

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def make_data(
    views: Sequence[str] = ("weak", "strong"),
    source: FewDigits | None = None,
    noise: Noise | None = None,
    **settings: Any,
) -> NoisyDataModule:
    """The data module, set up."""
    data = NoisyDataModule(
        source or FewDigits(),
        noise or Flipped(),
        views={
            "weak": weak_view(1, False),
            "strong": strong_view(1, False, "autoaugment"),
        },
        mean=[0.3057],
        std=[0.3760],
        **{"batch_size": BATCH, "seed": SEED, "eval_batch_size": 25, **settings},
    )
    data.train_views = tuple(views)
    data.setup()
    return data


def make_setting(
    data: NoisyDataModule,
    network: Callable[[], nn.Module] = TinyNet,
    lr: float = 0.1,
    **settings: Any,
) -> Setting:
    """What every method is given: SGD, whose rate is divided by ten after two epochs."""
    return Setting(
        network=network,
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9, weight_decay=5e-4),
        scheduler=partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[2], gamma=0.1),
        **{
            "labels": data.splits["train"].labels,
            "class_names": data.class_names,
            "test_names": data.test_names,
            "seed": SEED,
            **settings,
        },
    )


def make_method(
    data: NoisyDataModule,
    network: Callable[[], nn.Module] = TinyNet,
    lr: float = 0.1,
    **settings: Any,
) -> "Watched":
    """PMNAR or an ablation, with any settings of its own, of all methods or of `Compute`."""
    compute = {name: settings.pop(name) for name in COMPUTE if name in settings}
    shared = {name: settings.pop(name) for name in SHARED if name in settings}
    setting = make_setting(data, network, lr, compute=Compute(**compute), **shared)
    method = Watched(setting, **{"warmup_epochs": 1, "networks": 1, **settings})
    method.attach(data)
    return method


def fit(
    method: NoisyLabelMethod,
    data: NoisyDataModule,
    epochs: int = 1,
    callbacks: Sequence[Callback] = (),
    resume: Path | None = None,
    **settings: Any,
) -> L.Trainer:
    """Train, as the library's own Trainer is set up, but writing nothing."""
    chosen: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "inference_mode": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
    }
    trainer = L.Trainer(max_epochs=epochs, callbacks=list(callbacks), **chosen | settings)
    trainer.fit(method, datamodule=data, ckpt_path=resume, weights_only=True)
    return trainer


class Watched(PMNAR):
    """Keeps what each epoch began with and recorded, and every batch."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.begun: list[dict[str, Tensor]] = []
        self.rows: list[dict[str, float]] = []
        self.batches: list[Batch] = []

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.begun.append(state(self))

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.rows.append(dict(self.record))

    def losses(self, batch: Batch) -> Losses:
        self.batches.append(batch)
        return super().losses(batch)


def train_batches(data: NoisyDataModule, epoch: int = 0) -> Iterator[Batch]:
    """The batches of one epoch (0-based) as a single process gets them."""
    for request in data.shuffled(lambda: epoch):
        yield data.on_after_batch_transfer(request, 0)


def same_state(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Whether two states are equal to the bit."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def terms_of(method: PMNAR, batch: Batch) -> dict[str, Tensor]:
    """All terms of a batch's loss, of both networks together."""
    return by_name(method.losses(batch))


def state(method: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that a checkpoint would hold of it."""
    return {name: value.clone() for name, value in method.state_dict().items()}


def store_of(method: PMNAR) -> ComplementaryLabels:
    """The store of a method that has one."""
    assert method.complementary is not None
    return method.complementary


def sets(method: Watched) -> Tensor:
    """The whole store, bool `[N, K]`."""
    return store_of(method).mask(torch.arange(SIZE))


def measured(seed: int = 0) -> Measurement:
    """What two networks might measure on the training set."""
    generator = torch.Generator().manual_seed(seed)
    confidence = {n: torch.rand(SIZE, generator=generator) for n in ("first", "second")}
    outputs = ("first", "second", "ensemble")
    prediction = {n: torch.randint(10, (SIZE,), generator=generator) for n in outputs}
    return Measurement(confidence, prediction, {}, {})


def prepared(measurement: Measurement, **settings: Any) -> Watched:
    """A method that has prepared its first epoch beyond the warm-up from this measurement."""
    method = make_method(make_data(), **{**ABLATIONS["pmnar"], **settings})
    method.measurement = measurement
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method.prepare_epoch(method.warmup_epochs + 1)
    return method
