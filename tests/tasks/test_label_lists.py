"""Labels of one's own and maps by name, from the command line on."""

from collections.abc import Callable
from pathlib import Path

import official_data
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig

from pmnar.tasks.train import load_data

Run = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> tuple[str, ...]:
    """The overrides of a run on thirty images in folders class0, class1, class2."""
    official_data.write_image_folder(tmp_path / "images", side=8)
    return (
        "dataset=image_folder",
        f"dataset.source.data_dir={tmp_path / 'images'}",
        "dataset.source.image_size=8",
        "method=ce",
        "network=small_cnn",
        "network.width=8",
        "data.batch_size=10",
        "trainer.max_epochs=1",
    )


def test_a_list_of_paths_and_names_is_trained_on(
    run: Run, folder: tuple[str, ...], tmp_path: Path
) -> None:
    images = sorted((tmp_path / "images" / "train").rglob("*.png"), reverse=True)
    paths = [image.relative_to(tmp_path / "images") for image in images]
    wanted = {path: f"class{k % 3}" for k, path in enumerate(paths)}
    rows = ["path,label", *(f"{path.as_posix()},{name}" for path, name in wanted.items())]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    made = run(*folder, "noise=file", f"noise.path={tmp_path / 'mine.csv'}")
    table = pq.read_table(made / "samples.parquet")
    found = zip(table["path"].to_pylist(), table["given_name"].to_pylist(), strict=True)
    assert {Path(path): name for path, name in found} == wanted
    # Neither the list nor the untrusted folder knows a true label.
    assert "true_label" not in table.column_names
    again = run(*folder, "noise=file", f"noise.path={made}")
    assert pq.read_table(again / "samples.parquet").equals(table)


def test_a_map_by_names(composed: Callable[..., DictConfig], folder: tuple[str, ...]) -> None:
    by_name, by_number = (
        load_data(composed(*folder, "noise=asym40", f"noise.map={mapping}")).labels
        for mapping in ("{class0:class1,class1:class2}", "{0:1,1:2}")
    )
    assert (by_name.given == by_number.given).all()
    assert by_name.actual_rate == pytest.approx(8 / 30)
