"""A run's networks without its data: what they say is what the run was tested by."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from every import METHODS
from official_data import class_images, round_robin, save_image
from processes import Result

import pmnar
from pmnar.data.sources import Digits
from pmnar.errors import InputError

Run = Callable[..., Path]
CLASSES = ("a, b", "ç", "=x")
"""Names that a table has to quote."""


@pytest.mark.parametrize(
    "method", [m if m == "pmnar" else pytest.param(m, marks=pytest.mark.slow) for m in METHODS]
)
def test_loaded_networks_have_the_accuracy_that_the_run_was_told(
    short_run: Run, method: str
) -> None:
    run = short_run(f"method={method}")
    test = Digits().load().test["test"]
    outputs = pmnar.load(run).outputs(test.images)
    told = json.loads((run / "summary.json").read_text(encoding="utf-8"))["accuracy"]
    assert outputs.keys() == told.keys()
    for name, p in outputs.items():
        right = (p.argmax(-1) == test.labels).float().mean()
        assert float(right) == pytest.approx(told[name]["last"], abs=1e-6)
    [*_, best] = outputs.values()
    assert torch.equal(pmnar.load(run / "checkpoints" / "last.ckpt")(test.images), best)
    as_floats = pmnar.load(run)(test.images.float() / 255)
    assert torch.equal(as_floats, best)


def test_images_of_another_shape_are_refused(short_run: Run) -> None:
    classifier = pmnar.load(short_run("method=ce"))
    with pytest.raises(InputError, match=r"images must be \[B, 1, 8, 8\], got \[2, 3, 8, 8\]"):
        classifier(torch.zeros(2, 3, 8, 8))
    with pytest.raises(InputError, match="there is nothing at"):
        pmnar.load("nowhere")


@pytest.fixture
def trained(run: Run, tmp_path: Path) -> tuple[Path, Path]:
    """A folder of images, and a run on it."""
    folder, labels = tmp_path / "photos", round_robin(30, 3)
    for at, image in enumerate(class_images(labels, 3, 32)):
        save_image(folder / CLASSES[labels[at]] / f"{at:02}.png", image)
    made = ("dataset=image_folder", f"data_dir={folder}", "method=pmnar", "network.width=4")
    few = ("trainer.max_epochs=2", "method.warmup_epochs=1", "data.batch_size=6")
    return folder, run(*made, *few, "network.stem_stride=2")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_a_list_and_a_table_are_predicted_alike(
    trained: tuple[Path, Path], command: Callable[..., Result], tmp_path: Path
) -> None:
    folder, run = trained
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    told = command("predict", f"run={run}", f"images={folder}", f"out={tmp_path / 'all.csv'}")
    assert told.code == 0, told.err
    rows = rows_of(tmp_path / "all.csv")
    assert len(rows) == 31
    [broken] = [row for row in rows if row["error"]]
    assert (broken["path"], broken["prediction"]) == ("broken.png", "")
    said = json.loads(told.out)
    assert (said["images"], said["unreadable"]) == (31, 1)
    assert sum(said["predicted"].values()) == 30
    names = [row["path"] for row in rows]
    (folder / "list.txt").write_text("\r\n".join(names) + "\r\n", encoding="utf-8")
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "Image"), *enumerate(names)])
    for place in ("list.txt", "table.csv"):
        out = tmp_path / f"{place}.out.csv"
        done = command("predict", f"run={run}", f"images={folder / place}", f"out={out}")
        assert done.code == 0, done.err
        assert [row | {"error": ""} for row in rows_of(out)] == [
            row | {"error": ""} for row in rows
        ]


def test_a_row_is_what_the_networks_say(
    trained: tuple[Path, Path], command: Callable[..., Result], tmp_path: Path
) -> None:
    folder, run = trained
    out = tmp_path / "out.csv"
    command("predict", f"run={run}", f"images={folder}", f"out={out}", "probabilities=true")
    classifier = pmnar.load(run)
    for row in rows_of(out):
        pixels = torch.from_numpy(classifier.decoder(folder / row["path"]))[None]
        said = {name: p[0] for name, p in classifier.outputs(pixels).items()}
        p = said["ensemble"]
        assert row["prediction"] == classifier.class_names[int(p.argmax())]
        assert float(row["confidence"]) == pytest.approx(float(p.max()), abs=1e-5)
        both = said["first"].argmax() == said["second"].argmax()
        assert row["agree"] == str(bool(both)).lower()
        columns = [float(row[f"p_{name}"]) for name in classifier.class_names]
        assert columns == pytest.approx(p.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("images={folder}", "out={folder}"), "is there already"),
        (("images={folder}", "out={folder}/no/x.csv"), "there is no folder"),
        (("images={folder}/no", "out=x.csv"), "there is nothing"),
        (("images={folder}/empty", "out=x.csv"), "there is no image"),
        (("images={folder}/t.csv", "out=x.csv"), "must have a column image, path"),
        (("images={folder}/gone.txt", "out=x.csv"), "none can be read"),
        (("images={folder}/a.doc", "out=x.csv"), r"must be a folder, a list \(.txt\)"),
        (("out=x.csv",), "run=<run folder> images=<folder, list or table> are needed"),
        (("images={folder}", "out=null"), "out must be a file that is not there yet, got null"),
        (("images=7", "out=x.csv"), "images must be a path, got 7"),
    ],
)
def test_what_cannot_be_predicted_is_told_in_a_line(
    arguments: tuple[str, ...],
    message: str,
    short_run: Run,
    command: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = short_run("method=ce", "trainer.max_epochs=1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("id,label\n1,2\n")
    (tmp_path / "gone.txt").write_text("gone.png\n")
    (tmp_path / "a.doc").write_text("")
    told = command("predict", f"run={run}", *(text.format(folder=tmp_path) for text in arguments))
    assert told.code == 2
    [line] = [text for text in told.err.splitlines() if text.startswith("error: ")]
    assert re.search(message, line), line
    assert not (tmp_path / "x.csv").exists()
