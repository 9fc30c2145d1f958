"""Features from files through the whole task: trained on, judged, reported, resumed."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from every import METHODS, warm_up
from feature_files import ENDINGS, digits_as_features, is_mapped_from, write
from omegaconf import DictConfig
from outcomes import unequal

import pmnar
from pmnar.errors import InputError
from pmnar.names import TRAIN
from pmnar.noise import NoisyLabels
from pmnar.tasks.build import build_datamodule
from pmnar.tasks.evaluate import evaluate
from pmnar.tasks.places import read_summary
from pmnar.tasks.resume import resume
from pmnar.tasks.train import train

Run = Callable[..., Path]
Refuse = Callable[..., str]
Composed = Callable[..., DictConfig]
START = ("dataset=features", "recipe=paper", "dataset.recipe.batch_size=32")
SHORT = (*START, "dataset.recipe.max_epochs=3", "dataset.recipe.milestones=[2]")
WARM_UP = "method.warmup_epochs=1"


def source(path: Path) -> str:
    """The override that names a file."""
    return f"dataset.source.path={path}"


def test_every_format_gives_the_same_run(run: Run, tmp_path: Path) -> None:
    arrays = digits_as_features()
    folders = []
    for ending in ENDINGS:
        path = write(tmp_path / ending, ending, **arrays)
        folders.append(run(*SHORT, WARM_UP, source(path)))
    first, *others = folders
    for other in others:
        assert unequal(first, other) == []
        for name in ("labels.npz", "samples.parquet"):
            assert (first / name).read_bytes() == (other / name).read_bytes()
    rows = np.flatnonzero(arrays["split"] == "train")
    labels = NoisyLabels.load(first / "labels.npz")
    assert np.array_equal(labels.given, arrays["labels"][rows])
    assert labels.true is not None
    assert np.array_equal(labels.true, arrays["true_labels"][rows])
    table = pq.read_table(first / "samples.parquet")
    assert table["index"].to_pylist() == rows.tolist()
    assert table["path"].to_pylist() == arrays["paths"][rows].tolist()
    wrong = np.mean(arrays["labels"][rows] != arrays["true_labels"][rows])
    summary = read_summary(first)
    assert summary["detection"]["actual_noise_rate"] == pytest.approx(wrong)
    assert summary["noise"]["name"] == "clean"
    assert "nominal_rate" not in summary["noise"]


@pytest.mark.parametrize("network", ["linear", "mlp"])
def test_resumed_run_is_the_uninterrupted_one(
    run: Run, tmp_path: Path, network: str, composed: Composed
) -> None:
    path = write(tmp_path, "npz", **digits_as_features())
    views = ("dataset.views.jitter=0.1", "data.resident=stream", "data.num_workers=1")
    start = (*SHORT, WARM_UP, source(path), f"network={network}", *views)
    whole = run(*start)
    stopped = run(*start, "trainer.max_epochs=2")
    again = resume(stopped, ["trainer.max_epochs=3"])
    train(again.config, again.folder, again.checkpoint)
    assert unequal(whole, stopped) == []
    found = evaluate(composed(f"run={whole}", name="evaluate"))
    summary = read_summary(whole)
    for name, accuracy in found["accuracy"].items():
        assert accuracy == pytest.approx(summary["accuracy"][name]["last"])


def test_the_report_has_all_but_pictures(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "npz", **digits_as_features() | {"paths": None})
    folder = run(*SHORT, WARM_UP, source(path), "figures=true")
    figures = {path.stem for path in (folder / "figures").iterdir()}
    assert figures >= {"accuracy", "confidence", "detection", "weights"}
    assert "suspicious" not in figures
    report = (folder / "report.html").read_text()
    assert "Samples to look at" in report
    assert "The most suspicious samples" not in report
    said = capsys.readouterr().out
    assert "240 samples to train on, 60 in test" in said
    assert "samples on the device" in said
    assert "path" not in pq.read_table(folder / "samples.parquet").column_names


def test_noise_is_put_on_the_true_labels(composed: Composed, tmp_path: Path) -> None:
    arrays = digits_as_features()
    cfg = composed(*SHORT, source(write(tmp_path, "npz", **arrays)), "noise=sym20")
    data = build_datamodule(cfg)
    data.prepare_data()
    data.setup()
    rows = np.flatnonzero(arrays["split"] == "train")
    assert data.labels.true is not None
    assert np.array_equal(data.labels.true, arrays["true_labels"][rows])
    assert data.labels.actual_rate == pytest.approx(0.2, abs=0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is mapped")
def test_a_file_is_mapped_and_not_copied(composed: Composed, tmp_path: Path) -> None:
    """Not by the data module either, which holds images where they are on a CPU."""
    arrays = digits_as_features() | {"split": np.where(np.arange(300) < 240, "train", "test")}
    path = write(tmp_path, "npy", **arrays)
    data = build_datamodule(composed(*SHORT, source(path), "data.resident=device"))
    data.prepare_data()
    data.setup()
    held = data.images.hold(TRAIN, torch.device("cpu")).images
    assert is_mapped_from(held, path)
    [batch] = data.ordered_batches(torch.device("cpu"))
    rows = arrays["features"][:240].astype(np.float64)
    deviation = np.where(rows.std(0) == 0, np.inf, rows.std(0))
    expected = (rows - rows.mean(0)) / deviation
    assert np.allclose(batch.views[0].flatten(1).numpy(), expected, atol=1e-5)


def test_a_list_has_a_label_for_each_row_of_the_file(composed: Composed, tmp_path: Path) -> None:
    arrays = digits_as_features()
    np.save(tmp_path / "list.npy", arrays["true_labels"])
    where = (source(write(tmp_path, "npz", **arrays)), "noise=file")
    data = build_datamodule(composed(*SHORT, *where, f"noise.path={tmp_path / 'list.npy'}"))
    data.setup()
    assert data.labels.actual_rate == 0


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_features(method: str, run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "npz", **digits_as_features(150))
    folder = run(
        *(*START, source(path), f"method={method}", "network=mlp", "network.width=32"),
        *("trainer.fast_dev_run=true", *warm_up(method, 0)),
    )
    assert (folder / "samples.parquet").is_file()


def test_recipe_is_chosen_by_the_samples(composed: Composed, tmp_path: Path) -> None:
    path = write(tmp_path, "npz", **digits_as_features())
    cfg = composed("dataset=features", source(path))
    assert (cfg.recipe, cfg.method.name, cfg.noise._target_) == (
        "auto",
        "pmnar_plus",
        "pmnar.noise.Clean",
    )


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("network=small_cnn",), "cannot take 64 features, as network=linear and network=mlp do"),
        (("noise=inst40",), "noise=inst40 goes by pixels, which features have none of"),
        (("noise=human_worse",), "human_worse"),
        (("dataset.views.dropout=1",), "dataset.views.dropout must be in [0, 1), got 1"),
        (("dataset.normalisation=odd",), "dataset.normalisation must be one of training, none"),
        (("network=mlp", "network.depth=0"), "depth must be at least 1"),
    ],
)
def test_what_features_cannot_have_is_refused(
    refuse: Refuse, tmp_path: Path, quiet: tuple[str, ...], overrides: tuple[str, ...], reason: str
) -> None:
    path = write(tmp_path, "npz", **digits_as_features(150))
    assert reason in refuse(*SHORT, source(path), *overrides, start=quiet)


def test_a_network_for_features_takes_no_images(refuse: Refuse, quiet: tuple[str, ...]) -> None:
    assert "network" in refuse("network=linear", start=quiet)


def test_a_file_must_be_named(refuse: Refuse, quiet: tuple[str, ...]) -> None:
    assert "dataset.source.path must be the file" in refuse(*SHORT, start=quiet)


def test_a_file_that_moved_is_found_again(run: Run, tmp_path: Path, composed: Composed) -> None:
    path = write(tmp_path / "old", "npz", **digits_as_features(150))
    folder = run(*START, source(path), "method=ce", "trainer.max_epochs=1")
    first = evaluate(composed(f"run={folder}", name="evaluate"))
    moved = tmp_path / "new" / path.name
    os.renames(path, moved)
    for place in (moved, moved.parent):
        found = evaluate(composed(f"run={folder}", f"data_dir={place}", name="evaluate"))
        assert json.dumps(found) == json.dumps(first)


def test_a_run_is_loaded_with_the_statistics_that_it_was_trained_by(
    run: Run, tmp_path: Path
) -> None:
    arrays = digits_as_features()
    folder = run(*SHORT, WARM_UP, source(write(tmp_path, "npz", **arrays)))
    (tmp_path / "digits.npz").unlink()
    test = arrays["split"] == "test"
    classifier = pmnar.load(folder)
    p = classifier(torch.from_numpy(arrays["features"][test]))
    right = (p.argmax(-1).numpy() == arrays["true_labels"][test]).mean()
    assert right == pytest.approx(read_summary(folder)["accuracy"]["ensemble"]["last"])
    with pytest.raises(InputError, match=r"images must be \[B, 64, 1, 1\], got \[2, 63, 1, 1\]"):
        classifier(torch.zeros(2, 63))
    with pytest.raises(InputError, match="which no image file holds"):
        assert classifier.decoder
