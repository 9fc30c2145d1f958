"""Figures show what the tables hold, and are PNG files of a sensible size."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

import pmnar.figures
from pmnar.detection import most_suspicious, read_samples
from pmnar.errors import InputError
from pmnar.figures import (
    accuracy_curve,
    confidence_histogram,
    detection_curve,
    weights_per_class,
    worst_samples,
    write_figures,
    write_report,
)
from pmnar.figures.style import save
from pmnar.figures.tables import Metrics

MakeRun = Callable[..., Path]
NAMES = ["cat", "dog", "ship"]


def noise_images(index: list[int], channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (len(index), channels, 8, 8)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def is_sensible(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        width, height = image.size
        return image.format == "PNG" and 400 <= width <= 1500 and 150 <= height <= 1500


@pytest.mark.filterwarnings("error")
def test_all_figures_of_a_full_run(make_run: MakeRun) -> None:
    run, asked = make_run(), list[int]()

    def images(index: list[int]) -> Tensor:
        asked.extend(index)
        return noise_images(index)

    files = write_figures(run, images)
    names = {"accuracy", "confidence", "detection", "weights", "suspicious"}
    assert {path.name for path in files} == {f"{name}.png" for name in names}
    assert all(path.parent == run / "figures" and is_sensible(path) for path in files)
    worst = most_suspicious(read_samples(run / "samples.parquet"), 24)
    assert asked == worst["index"].to_pylist()


def test_an_unfinished_run_s_weights_are_those_of_its_table_of_classes(make_run: MakeRun) -> None:
    run = make_run()
    for name in ("samples.parquet", "metrics.csv"):
        (run / name).unlink()
    (run / "classes.csv").write_text("epoch,class,name,weight\n1,0,a,0.5\n1,1,b,0.25\n")
    assert [path.stem for path in write_figures(run)] == ["weights"]
    (run / "classes.csv").write_text("epoch,class,name,recall\n1,0,a,0.5\n1,1,b,0.25\n")
    assert write_figures(run) == []


def test_figures_without_data_are_left_out(make_run: MakeRun) -> None:
    run = make_run(full=False)
    assert [path.stem for path in write_figures(run)] == ["accuracy", "confidence"]


def test_an_empty_folder_gives_no_figure(tmp_path: Path) -> None:
    assert write_figures(tmp_path) == []


def test_equal_tables_give_equal_files(tmp_path: Path) -> None:
    metrics: Metrics = {"accuracy_first": np.array([0.1, 0.2])}
    first = save(accuracy_curve(metrics), tmp_path / "a.png")
    second = save(accuracy_curve(metrics), tmp_path / "b.png")
    assert first.read_bytes() == second.read_bytes()


def test_accuracy_is_drawn_in_percent_over_the_epochs() -> None:
    metrics: Metrics = {
        "epoch": np.array([1.0, 2, 3]),
        "accuracy_first": np.array([0.1, np.nan, 0.3]),
        "detection_f1": np.array([np.nan, 0.5, 0.9]),
    }
    top, bottom = accuracy_curve(metrics, {"warm-up ends": 1}).axes
    lines = (*top.lines, bottom.lines[0])
    first, mark, f1 = (np.asarray(line.get_xydata(), np.float64) for line in lines)
    np.testing.assert_allclose(first, np.array([[1, 10], [2, np.nan], [3, 30]]))
    np.testing.assert_allclose(f1, np.array([[1, np.nan], [2, 0.5], [3, 0.9]]))
    assert mark[:, 0].tolist() == [1.5, 1.5]


@pytest.mark.parametrize("epoch", [None, 0, 3])
def test_an_event_before_the_first_or_after_the_last_epoch_is_not_marked(epoch: int | None) -> None:
    metrics: Metrics = {"accuracy_first": np.array([0.1, 0.2, 0.3])}
    events = None if epoch is None else {"warm-up ends": epoch}
    assert len(accuracy_curve(metrics, events).axes[0].lines) == 1


def test_every_event_is_marked_by_its_name() -> None:
    metrics: Metrics = {"accuracy_first": np.arange(9) / 10}
    axes = accuracy_curve(metrics, {"one": 2, "other": 5}).axes[0]
    assert [np.asarray(line.get_xdata())[0] for line in axes.lines[1:]] == [2.5, 5.5]
    assert {"one", "other"} <= {text.get_text() for text in axes.texts}


def test_an_older_summary_draws_the_same_figures(make_run: MakeRun) -> None:
    """It has the warm-up's epochs instead of events."""
    run = make_run()
    now = {path.name: path.read_bytes() for path in write_figures(run)}
    summary = json.loads((run / "summary.json").read_text())
    ended = summary.pop("events")["warm-up ends"]
    (run / "summary.json").write_text(json.dumps(summary | {"warmup_epochs": ended}))
    assert {path.name: path.read_bytes() for path in write_figures(run)} == now
    assert '<th scope="row">warm-up ends</th><td>after epoch 2</td>' in write_report(run).read_text(
        "utf-8"
    )


def test_histogram_counts_every_sample(make_run: MakeRun) -> None:
    samples = read_samples(make_run() / "samples.parquet")
    legends = confidence_histogram(samples).legends[0].get_texts()
    assert [text.get_text() for text in legends] == [
        "given label right (100)",
        "given label wrong (100)",
    ]
    unknown = confidence_histogram(samples.drop_columns(["true_label"])).legends[0].get_texts()
    assert [text.get_text() for text in unknown] == ["all samples (200)"]


def test_detection_without_a_mislabelled_sample_draws_precision_alone(make_run: MakeRun) -> None:
    samples = read_samples(make_run() / "samples.parquet")
    place = samples.column_names.index("true_label")
    clean = samples.set_column(place, "true_label", samples["given_label"])
    texts = [text.get_text() for text in detection_curve(clean).axes[0].texts]
    assert texts == ["precision", "threshold 0.5"]
    with pytest.raises(InputError, match="needs true labels"):
        detection_curve(samples.drop_columns(["true_label"]))


def test_weights_of_log_and_samples_agree(make_run: MakeRun) -> None:
    samples = read_samples(make_run() / "samples.parquet")
    given, weight = (samples[name].to_numpy() for name in ("given_label", "weight"))
    means = [float(weight[given == k].mean()) for k in range(3)]
    log: Metrics = {f"weight_class_{k}": np.array([1.0, mean]) for k, mean in enumerate(means)}
    for source in (samples, log):
        bars = weights_per_class(source, NAMES).axes[0].containers[0]
        np.testing.assert_allclose([bar.get_width() for bar in bars], means, rtol=1e-6)


def test_a_starved_class_stands_out() -> None:
    log: Metrics = {f"weight_class_{k}": np.array([0.5]) for k in range(12)}
    log["weight_class_10"] = np.array([0.01])
    bars = weights_per_class(log).axes[0].patches
    others = {bar.get_facecolor() for k, bar in enumerate(bars) if k != 10}
    assert len(others) == 1
    assert bars[10].get_facecolor() not in others


def test_a_thousand_classes_are_sorted_and_the_lowest_named(tmp_path: Path) -> None:
    log: Metrics = {
        f"weight_class_{k}": np.array([0.1 + (k * 7 % 1000) / 2000]) for k in range(1000)
    }
    figure = weights_per_class(log, [f"class {k}" for k in range(1000)])
    heights = [bar.get_height() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    assert len(heights) == 1000
    assert heights == sorted(heights)
    assert any("class 0\n" in text.get_text() for text in figure.axes[0].texts)
    assert is_sensible(save(figure, tmp_path / "weights.png"))


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (7, 3)])
def test_sheet_of_few_samples(make_run: MakeRun, tmp_path: Path, count: int, channels: int) -> None:
    samples = read_samples(make_run() / "samples.parquet")
    images = noise_images([0] * count, channels)
    figure = worst_samples(samples, images, NAMES)
    assert sum(len(axes.images) for axes in figure.axes) == count
    assert not any(axes.axison for axes in figure.axes)
    assert is_sensible(save(figure, tmp_path / "sheet.png"))


def test_sheet_needs_one_image_a_sample(make_run: MakeRun) -> None:
    samples = read_samples(make_run(size=10) / "samples.parquet")
    with pytest.raises(InputError, match="7 images for 5 samples"):
        worst_samples(samples, noise_images([0] * 7), NAMES)


def test_tables_without_the_columns_are_refused() -> None:
    with pytest.raises(InputError, match="accuracy_first"):
        accuracy_curve({"loss": np.array([1.0])})
    with pytest.raises(InputError, match="no weights per class"):
        weights_per_class({"loss": np.array([1.0])})


def test_matplotlib_is_imported_late_and_without_global_state() -> None:
    """Only statements at the left margin run on import."""
    for path in Path(pmnar.figures.__file__).parent.glob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if "pyplot" in line or "rcParams" in line]
        assert not [
            line for line in lines if line.startswith(("import matplotlib", "from matplotlib"))
        ]
