"""Predict new images with a run's networks."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from pmnar.data.sources.decode import decode_files
from pmnar.data.sources.finding import image_files
from pmnar.errors import InputError
from pmnar.files import write_text
from pmnar.runtime.quiet import quieten
from pmnar.tasks.devices import choose_accelerator
from pmnar.tasks.load import Classifier, load

COLUMNS = ("image", "path", "file", "filename", "file_name")
"""How a table's column of images is called, in any case."""


class Images(NamedTuple):
    """Image files: their folder, and their paths from there."""

    root: Path
    paths: list[str]


def predict(cfg: DictConfig) -> dict[str, Any]:
    """Write a table of predictions for the images that `cfg.images` names.

    A row for each image in order: `path`, `prediction`, `confidence` (the probability of it),
    `agree` where two networks predict (whether they say the same), with `cfg.probabilities` a
    column `p_<class>` for each class, and `error`, the reason where an image cannot be read.

    Returns:
        `images`, `unreadable`, the number of predictions by class, and where the table is.

    Raises:
        InputError: a value is out of its range, there are no images, none can be read, or
            something is at `cfg.out` already.
    """
    quieten()
    if cfg.run is None or cfg.images is None:
        raise InputError("run=<run folder> images=<folder, list or table> are needed")
    if cfg.out is None:
        raise InputError("out must be a file that is not there yet, got null")
    out = Path(cfg.out)
    if out.exists():
        raise InputError(f"out={out} is there already; choose another file, or remove it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"out={out}: there is no folder {out.parent}")
    images = find(Path(cfg.images).expanduser())
    accelerator = choose_accelerator(cfg.accelerator, "accelerator")
    classifier = load(
        cfg.run if cfg.checkpoint is None else cfg.checkpoint,
        "cuda" if accelerator in ("gpu", "cuda") else accelerator,
    )
    shown = classifier.class_names if cfg.probabilities else ()
    rows = list(predictions(classifier, images, shown))
    if all(row["error"] for row in rows):
        raise InputError(f"images={cfg.images}: none can be read; {rows[0]['error']}")
    write_text(out, table(rows, shown))
    counts = dict.fromkeys(classifier.class_names, 0)
    for row in rows:
        if not row["error"]:
            counts[row["prediction"]] += 1
    unreadable = sum(bool(row["error"]) for row in rows)
    return {"images": len(rows), "unreadable": unreadable, "predicted": counts, "out": str(out)}


def find(place: Path) -> Images:
    """The images in and below a folder, or that a list (.txt) or table (.csv) names.

    Relative paths in a list or table are from its own folder.

    Raises:
        InputError: there are none.
    """
    if place.is_dir():
        found = Images(place, image_files(place))
    elif not place.is_file():
        raise InputError(f"images={place}: there is nothing")
    elif place.suffix == ".txt":
        lines = place.read_text(encoding="utf-8").splitlines()
        found = Images(place.parent, [line.strip() for line in lines if line.strip()])
    elif place.suffix == ".csv":
        found = Images(place.parent, _column(place))
    else:
        raise InputError(f"images={place} must be a folder, a list (.txt) or a table (.csv)")
    if not found.paths:
        raise InputError(f"images={place}: there is no image")
    return found


def _column(place: Path) -> list[str]:
    with place.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or ())
        known = [name for name in names if name.strip().lower() in COLUMNS]
        if not known:
            columns = ", ".join(COLUMNS)
            raise InputError(
                f"images={place} must have a column {columns}; it has {', '.join(names)}"
            )
        return [row[known[0]] for row in reader if row[known[0]]]


def predictions(
    classifier: Classifier, images: Images, shown: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """A row for each image, in order, with the probabilities of all classes that are `shown`."""
    device = next(classifier.parameters()).device
    done = 0
    for chunk in decode_files(images.root, images.paths, classifier.decoder, "images"):
        pixels = torch.from_numpy(chunk.images).to(device)
        said = {name: p.cpu() for name, p in classifier.outputs(pixels).items()}
        for at in range(len(pixels)):
            path = images.paths[done + at]
            if path in chunk.failures:
                yield {"path": path, "error": chunk.failures[path]}
            else:
                own = {name: p[at] for name, p in said.items()}
                yield {"path": path, "error": "", **_row(own, classifier.class_names, shown)}
        done += len(pixels)


def _row(said: dict[str, Tensor], names: tuple[str, ...], shown: tuple[str, ...]) -> dict[str, str]:
    """What the networks say of an image, `[K]` each, the last of them being what is predicted."""
    p = list(said.values())[-1]
    at = int(p.argmax())
    row = {"prediction": names[at], "confidence": f"{float(p[at]):.6f}"}
    chosen = {int(each.argmax()) for name, each in said.items() if name != "ensemble"}
    if "ensemble" in said:
        row["agree"] = str(len(chosen) == 1).lower()
    return row | {f"p_{name}": f"{float(v):.6f}" for name, v in zip(shown, p, strict=False)}


def table(rows: list[dict[str, Any]], class_names: tuple[str, ...]) -> str:
    """Rows as CSV, with the probability of each of these classes."""
    has_two = any("agree" in row for row in rows)
    columns = ["path", "prediction", "confidence", *["agree"] * has_two]
    columns += [*(f"p_{name}" for name in class_names), "error"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
