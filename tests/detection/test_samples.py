"""The table of samples: its columns, a round trip, and a write that is whole or absent."""

import csv
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pmnar.detection import (
    most_suspicious,
    read_samples,
    samples_table,
    threshold_of,
    write_samples,
    write_suspects,
)
from pmnar.errors import InputError

ALWAYS = ["index", "given_label", "given_name", "confidence", "suggested_label"]
ALWAYS += ["suggested_name", "suggested_confidence", "mislabelled", "unsure", "lost_class"]


def small(**others: object) -> pa.Table:
    given = {
        "given": torch.tensor([0, 1, 2, 1]),
        "confidence": torch.tensor([0.9, 0.1, 0.4, 0.1]),
        "suggested": torch.tensor([0, 2, 0, 0]),
        "suggested_confidence": torch.tensor([0.9, 0.6, 0.5, 0.8]),
        "class_names": ["cat", "dog", "<b>"],
    }
    make: Callable[..., pa.Table] = samples_table
    return make(**given | others)


def full() -> pa.Table:
    return small(
        true=torch.tensor([0, 2, 2, 1]),
        weight=torch.tensor([0.8, 0.0, 0.3, 0.1]),
        paths=["a/1.png", "b/2.png", "c/ü.png", "b/3.png"],
        index=torch.tensor([10, 20, 30, 40]),
        threshold=0.3,
    )


def test_columns_that_are_unknown_are_absent() -> None:
    assert small().column_names == ALWAYS
    assert set(full().column_names) == {*ALWAYS, "path", "true_label", "weight"}


def test_types_and_values() -> None:
    table = full()
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert {name for name, kind in kinds.items() if kind == "int64"} == {
        "index",
        "given_label",
        "true_label",
        "suggested_label",
    }
    assert kinds["confidence"] == kinds["weight"] == kinds["suggested_confidence"] == "float"
    assert table["given_name"].to_pylist() == ["cat", "dog", "<b>", "dog"]
    assert table["suggested_name"].to_pylist() == ["cat", "<b>", "cat", "cat"]
    assert table["mislabelled"].to_pylist() == [False, True, False, True]
    assert small()["mislabelled"].to_pylist() == [False, True, True, True]
    assert small()["index"].to_pylist() == [0, 1, 2, 3]


def test_samples_of_a_class_that_is_hardly_predicted_are_marked() -> None:
    assert small()["lost_class"].to_pylist() == [False, True, False, True]
    suggested = torch.tensor([0, 1, 2, 0])
    assert not any(small(suggested=suggested)["lost_class"].to_pylist())


def test_suspects_are_in_the_order_that_was_chosen() -> None:
    assert most_suspicious(small(), 9)["index"].to_pylist() == [3, 1, 2]
    margins = {"margin": torch.tensor([-9.0, -1.0, -3.0, -2.0])}
    by_margin = small(scores=margins, order="margin")
    assert most_suspicious(by_margin, 9)["index"].to_pylist() == [2, 3, 1]
    assert most_suspicious(small(scores=margins), 9)["index"].to_pylist() == [3, 1, 2]
    with pytest.raises(ValueError, match="ordered by margin: there is no such column"):
        small(order="margin")


@pytest.mark.parametrize("make", [small, full])
def test_what_is_read_is_what_was_written(make: Callable[[], pa.Table], tmp_path: Path) -> None:
    path = tmp_path / "noise=asym30" / "samples.parquet"
    write_samples(path, make())
    read = read_samples(path)
    assert read.equals(make(), check_metadata=True)
    assert threshold_of(read) == threshold_of(make())
    assert [entry.name for entry in path.parent.iterdir()] == ["samples.parquet"]
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "samples.parquet"
    write_samples(path, small())

    def torn(table: pa.Table, where: Path, **_: object) -> None:
        where.write_bytes(b"PAR1 half a file")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", torn)
    with pytest.raises(OSError, match="disk full"):
        write_samples(path, full())
    assert read_samples(path).equals(small())
    assert list(tmp_path.iterdir()) == [path]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    with pytest.raises(InputError, match=r"samples\.parquet does not exist"):
        read_samples(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="not a readable parquet file") as caught:
        read_samples(path)
    assert "\n" not in str(caught.value)


def test_most_suspicious_orders_by_confidence_then_by_the_suggestion() -> None:
    assert most_suspicious(small(), 10)["index"].to_pylist() == [3, 1, 2]
    assert most_suspicious(small(), 2)["index"].to_pylist() == [3, 1]
    assert len(most_suspicious(small(threshold=0.0), 10)) == 0


def test_suspects_are_a_table_for_anybody_the_most_suspicious_first(tmp_path: Path) -> None:
    margins = {"margin": torch.tensor([-9.0, -1.0, -3.0, -2.0])}
    paths = ["a", 'b, "c"', "d é", "e"]
    write_suspects(tmp_path / "s.csv", small(scores=margins, order="margin", paths=paths))
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["d é", "e", 'b, "c"']
    assert [row["index"] for row in rows] == ["2", "3", "1"]
    assert [float(row["margin"]) for row in rows] == [-3, -2, -1]
    names = zip((r["given_name"] for r in rows), (r["suggested_name"] for r in rows), strict=True)
    assert all(given != suggested for given, suggested in names)
    write_suspects(tmp_path / "s.csv", small(threshold=0.0))
    [head] = (tmp_path / "s.csv").read_text().splitlines()
    assert "path" not in head
    assert head.startswith('"index","given_name","suggested_name","confidence"')


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"weight": torch.zeros(3)}, "weight has 3 values, but there are 4 samples"),
        ({"paths": ["a"]}, "path has 1 values"),
        ({"given": torch.tensor([0, 1, 3, 1])}, r"given labels must be in \[0, 3\), got 3"),
        ({"suggested": torch.tensor([0, 1, -1, 1])}, r"suggested labels .* got -1"),
    ],
)
def test_what_does_not_fit_is_refused(others: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**others)
