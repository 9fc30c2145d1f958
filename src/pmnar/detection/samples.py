"""The table of training samples, `samples.parquet`: a row a sample.

pyarrow is imported where a table is made or read: that is after training, and never before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pmnar.detection.classes import class_counts
from pmnar.detection.suspects import find_suspects
from pmnar.errors import InputError
from pmnar.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

THRESHOLD = b"threshold"
IMAGES = b"images"
ORDER = b"order"
CONFIDENCE = "confidence"


def samples_table(
    *,
    given: Tensor,
    confidence: Tensor,
    suggested: Tensor,
    suggested_confidence: Tensor,
    class_names: Sequence[str],
    true: Tensor | None = None,
    weight: Tensor | None = None,
    paths: Sequence[str] | None = None,
    index: Tensor | None = None,
    threshold: float = 0.5,
    images: str | None = None,
    scores: Mapping[str, Tensor] | None = None,
    order: str = CONFIDENCE,
) -> pa.Table:
    """What a run thinks of every training sample.

    Args:
        given: given labels, int64 `[N]` in [0, K).
        confidence: probability of the given label, `[N]` in [0, 1].
        suggested: the network's prediction, int64 `[N]` in [0, K).
        suggested_confidence: its probability, `[N]` in [0, 1].
        class_names: K names.
        true: true labels `[N]`, where they are known.
        weight: sample weights `[N]`, where the method has any.
        paths: N files, where there are any.
        index: position in the official training set, int64 `[N]`; by default 0 to N - 1.
        threshold: a confidence below it calls a sample wrong; kept in the table's metadata.
        images: the digest of the images, kept there too.
        scores: further columns by name, the method's own opinion of each label, `[N]`.
        order: the column by which suspects are ordered, the lowest first; kept there as well.

    Returns:
        Columns `index`, `path`, `given_label`, `given_name`, `true_label`, `confidence`, `weight`,
        `suggested_label`, `suggested_name`, `suggested_confidence`, `mislabelled`, `unsure` (see
        `suspects`), `lost_class` (the given class is one that is hardly predicted any more, see
        `class_counts`: whatever is said of its samples says little), in this order, then those
        of `scores`.
        `path`, `true_label` and `weight` are absent where unknown. Labels are int64, confidences
        and weights float32.

    Raises:
        InputError: a length other than N, or a label without a name.
        ValueError: a score has the name of another column, or there is none to order by.
    """
    import pyarrow as pa

    names = pa.array(list(class_names), pa.string())
    row = pa.array(range(len(given)), pa.int64()) if index is None else _labels(index)
    suspects = find_suspects(confidence, given, suggested, threshold)
    columns: dict[str, pa.Array | None] = {
        "index": row,
        "path": None if paths is None else pa.array(list(paths), pa.string()),
        "given_label": _labels(given),
        "given_name": _names("given", given, names),
        "true_label": None if true is None else _labels(true),
        "confidence": _floats(confidence),
        "weight": None if weight is None else _floats(weight),
        "suggested_label": _labels(suggested),
        "suggested_name": _names("suggested", suggested, names),
        "suggested_confidence": _floats(suggested_confidence),
        "mislabelled": pa.array(suspects.mislabelled.cpu().numpy()),
        "unsure": pa.array(suspects.unsure.cpu().numpy()),
        "lost_class": pa.array(_in_lost_class(given, suggested, len(class_names)).numpy()),
    }
    for name, score in (scores or {}).items():
        if name in columns:
            raise ValueError(f"a score may not be called {name}, which is another column")
        columns[name] = _floats(score)
    known = {name: column for name, column in columns.items() if column is not None}
    if order not in known:
        raise ValueError(f"suspects cannot be ordered by {order}: there is no such column")
    for name, column in known.items():
        if len(column) != len(given):
            raise InputError(f"{name} has {len(column)} values, but there are {len(given)} samples")
    about = {THRESHOLD: repr(float(threshold)).encode(), ORDER: order.encode()}
    if images is not None:
        about[IMAGES] = images.encode()
    return pa.table(known).replace_schema_metadata(about)


def write_samples(path: Path, table: pa.Table) -> None:
    """Write the table whole or not at all: a file beside it takes its place when complete."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        pq.write_table(table, beside, compression="zstd")


def read_samples(path: Path) -> pa.Table:
    """The table that `write_samples` wrote.

    Raises:
        InputError: no such file, or not a parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"{path} does not exist; a finished run writes it")
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a readable parquet file: {reason}") from error


def threshold_of(table: pa.Table) -> float:
    """The threshold below which the samples of this table were called wrong."""
    return float((table.schema.metadata or {}).get(THRESHOLD, b"0.5"))


def most_suspicious(table: pa.Table, count: int) -> pa.Table:
    """At most `count` suspects (`mislabelled`), the most suspicious first.

    That is by the column that the method chose, in a table without a choice by the confidence in
    the given label. Where it is equal: the surest other suggestion first, then the lowest index.
    """
    order = [
        (order_of(table), "ascending"),
        ("suggested_confidence", "descending"),
        ("index", "ascending"),
    ]
    return table.filter(table["mislabelled"]).sort_by(order).slice(0, count)


def write_suspects(path: Path, table: pa.Table) -> None:
    """Write all suspects (`mislabelled`), the most suspicious first, as CSV, whole or not at all.

    Columns: `index`, `path` where there is one, the names of given and suggested class, their
    confidences, what suspects are ordered by where that is something else, and `lost_class`.
    """
    import pyarrow.csv as pc

    found = most_suspicious(table, len(table))
    wanted = ("index", "path", "given_name", "suggested_name", CONFIDENCE, "suggested_confidence")
    columns = dict.fromkeys((*wanted, order_of(table), "lost_class"))
    with replacing(path) as beside:
        pc.write_csv(found.select([n for n in columns if n in found.column_names]), beside)


def order_of(table: pa.Table) -> str:
    """The column by which the method orders suspects; confidence in a table without a choice."""
    chosen: str = (table.schema.metadata or {}).get(ORDER, CONFIDENCE.encode()).decode()
    return chosen


def _in_lost_class(given: Tensor, suggested: Tensor, num_classes: int) -> Tensor:
    """Which samples are given a class that is hardly predicted, bool `[N]` on the CPU."""
    lost = torch.tensor(class_counts(suggested, given, num_classes).lost, dtype=torch.int64)
    return torch.isin(given.cpu(), lost)


def _labels(values: Tensor) -> pa.Array:
    import pyarrow as pa

    return pa.array(values.detach().cpu().numpy(), pa.int64())


def _floats(values: Tensor) -> pa.Array:
    import pyarrow as pa

    return pa.array(values.detach().float().cpu().numpy(), pa.float32())


def _names(kind: str, labels: Tensor, names: pa.Array) -> pa.Array:
    low, high = (int(value) for value in labels.aminmax()) if len(labels) else (0, 0)
    if low < 0 or high >= len(names):
        raise InputError(
            f"{kind} labels must be in [0, {len(names)}), got {low if low < 0 else high}"
        )
    return names.take(_labels(labels))
