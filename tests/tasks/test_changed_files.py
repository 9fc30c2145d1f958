"""A run knows its images: what becomes of it where the files below `data_dir` change."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import official_data
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import DictConfig
from processes import QUIET, Result

from pmnar.errors import InputError
from pmnar.noise import NoisyLabels
from pmnar.runtime.checkpoint import read_checkpoint
from pmnar.tasks.evaluate import evaluate
from pmnar.tasks.places import read_summary
from pmnar.tasks.resume import check_checkpoint
from pmnar.tasks.train import load_data

Run = Callable[..., Path]
Composed = Callable[..., DictConfig]
Command = Callable[..., Result]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Thirty training images, in folders class0, class1, class2."""
    official_data.write_image_folder(tmp_path / "images", side=8)
    return tmp_path / "images" / "train"


@pytest.fixture
def overrides(images: Path) -> tuple[str, ...]:
    """Those of a short run on them."""
    return (
        *("dataset=image_folder", f"dataset.source.data_dir={images.parent}", "noise=sym50"),
        *("dataset.source.image_size=8", "data.batch_size=10", "trainer.max_epochs=1"),
        *("method=ce", "network=small_cnn", "network.width=8"),
    )


def change(images: Path, kind: str) -> None:
    """Do to the files what people do."""
    file = images / "class0" / "0003.png"
    if kind == "missing":
        file.unlink()
    elif kind == "new":
        official_data.save_image(file.with_name("0099.png"), np.zeros((3, 8, 8), np.uint8))
    elif kind == "content":
        official_data.save_image(file, np.zeros((3, 8, 8), np.uint8))
    elif kind == "renamed":
        file.rename(file.with_name("x.png"))
    else:  # as many in each class as before
        file.rename(images / "class1" / "x.png")
        next((images / "class1").glob("0*.png")).rename(images / "class0" / "y.png")


TOLD = {
    "missing": "train/class0/0003.png is missing",
    "new": "train/class0/0099.png is new",
    "content": "train/class0/0003.png has changed in content",
    "renamed": "train/class0/0003.png is renamed, it is train/class0/x.png now",
    "class": "train/class0/0003.png is in another class, it is train/class1/x.png now, and 1 more",
}


def in_one_line(result: Result, told: str) -> bool:
    """Whether a command was refused with just one line of error, which says that."""
    errors = [line for line in result.err.splitlines() if not line.startswith("decoding")]
    return result.code == 2 and len(errors) == 1 and told in errors[0]


def test_a_run_keeps_what_its_images_are(run: Run, overrides: tuple[str, ...]) -> None:
    made = run(*overrides, "data.noisy_validation=0.2")
    labels = NoisyLabels.load(made / "labels.npz")
    table = pq.read_table(made / "samples.parquet")
    digest = labels.digest
    assert digest is not None
    assert table.schema.metadata[b"images"].decode() == digest
    assert read_summary(made)["images"] == digest
    assert read_checkpoint(made / "checkpoints" / "last.ckpt")["pmnar"]["images"] == digest
    for part in (labels, labels.held_out):
        assert part is not None
        assert part.fingerprint is not None
        assert part.fingerprint.paths is not None
        classes = [int(path.split("/")[1][-1]) for path in part.fingerprint.paths.tolist()]
        assert classes == part.fingerprint.labels.tolist()
        if part is labels:
            assert table["path"].to_pylist() == part.fingerprint.paths.tolist()


@pytest.mark.parametrize("kind", TOLD)
def test_nothing_goes_on_with_other_images(
    run: Run,
    command: Command,
    composed: Composed,
    images: Path,
    overrides: tuple[str, ...],
    runs: Path,
    kind: str,
) -> None:
    made = run(*overrides)
    same = (*QUIET, *overrides, f"runs_dir={runs}", "skip_done=true")
    assert f"skipped: {made}" in command("train", *same).out
    before = evaluate(composed(f"run={made}", "accelerator=cpu", name="evaluate"))
    assert before["epochs"] == 1
    change(images, kind)
    assert in_one_line(command("train", *same), TOLD[kind])
    result = command("train", f"resume={made}", "trainer.max_epochs=2")
    assert in_one_line(result, TOLD[kind])
    assert result.out == ""  # it does not say that it goes on, and then does not
    result = command("evaluate", f"run={made}", "accelerator=cpu")
    assert in_one_line(result, TOLD[kind])
    (made / "labels.npz").unlink()  # by the checkpoint alone
    result = command("train", f"resume={made}", "trainer.max_epochs=2")
    assert in_one_line(result, "trained on other images than there are now")


def test_other_test_images_are_told(
    run: Run, composed: Composed, images: Path, overrides: tuple[str, ...]
) -> None:
    made = run(*overrides)
    next((images.parent / "test").rglob("*.png")).unlink()
    cfg = composed(f"run={made}", "accelerator=cpu", name="evaluate")
    with pytest.warns(UserWarning, match="images or labels of test are not those"):
        evaluate(cfg)


@pytest.mark.parametrize("kind", TOLD)
def test_labels_of_a_run_stay_with_their_images(
    run: Run, composed: Composed, images: Path, overrides: tuple[str, ...], kind: str
) -> None:
    made = run(*overrides, "data.noisy_validation=0.2")
    stored = NoisyLabels.load(made / "labels.npz").whole()
    assert stored.fingerprint is not None
    wanted = by_content(stored)
    change(images, kind)
    cfg = composed(*overrides, "noise=file", f"noise.path={made}")
    if kind in ("missing", "renamed"):
        with pytest.warns(UserWarning, match=TOLD[kind]):
            found = by_content(load_data(cfg).labels)
        assert len(found) == (29 if kind == "missing" else 30)
        assert found.items() <= wanted.items()
    else:
        with pytest.raises(InputError, match=f"^noise.path: .* of other images .*{TOLD[kind]}"):
            load_data(cfg)


def by_content(labels: NoisyLabels) -> dict[int, tuple[int, int]]:
    """Given and true label of each image, by its digest."""
    assert labels.fingerprint is not None
    assert labels.true is not None
    both = zip(labels.given.tolist(), labels.true.tolist(), strict=True)
    return dict(zip(labels.fingerprint.digests.tolist(), both, strict=True))


def test_a_run_without_a_fingerprint_goes_on_as_it_did(
    run: Run, command: Command, images: Path, overrides: tuple[str, ...], runs: Path
) -> None:
    made = run(*overrides)
    with np.load(made / "labels.npz") as archive:
        older = {name: archive[name] for name in ("format", "header", "given", "index", "true")}
    np.savez(made / "labels.npz", **older)
    assert NoisyLabels.load(made / "labels.npz").digest is None
    change(images, "content")
    same = (*QUIET, *overrides, f"runs_dir={runs}", "skip_done=true")
    assert f"skipped: {made}" in command("train", *same).out
    assert command("evaluate", f"run={made}", "accelerator=cpu").code == 2  # the checkpoint knows


def test_a_checkpoint_knows_what_decoded_its_images() -> None:
    run = {"dataset": "toy", "method": "ce", "class_names": ["a", "b"], "images": "12"}
    checkpoint = {"pmnar": run | {"images": "34", "decoder": "Pillow 9"}}
    with pytest.raises(InputError, match="decoded by another Pillow/libjpeg: Pillow 9 then, Pill"):
        check_checkpoint(checkpoint, run | {"decoder": "Pillow 13"}, torch.zeros(1))
    for decoder in ("Pillow 9", None):
        with pytest.raises(InputError, match=r"changed\); restore them"):
            check_checkpoint(checkpoint, run | {"decoder": decoder}, torch.zeros(1))
