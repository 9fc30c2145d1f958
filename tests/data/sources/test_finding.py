import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official_data import write_image_folder
from PIL import Image

from pmnar.data.sources import ImageFolder, finding
from pmnar.data.sources.decode import Decoder
from pmnar.data.sources.finding import find_images, image_files
from pmnar.errors import InputError

FLAT = Image.new("RGB", (8, 8), (200, 100, 50))
SAVED: dict[str, dict[str, Any]] = {
    "a.jfif": {"format": "JPEG"},
    "a.jpe": {"format": "JPEG"},
    "a.avif": {"format": "AVIF"},
    "a.ico": {"format": "ICO"},
    "a.jp2": {"format": "JPEG2000"},
    "a.tga": {"format": "TGA"},
    "png": {"format": "PNG"},
    "photo.jpg_large": {"format": "JPEG"},
    "image.php": {"format": "GIF"},
    "deep/er/webp": {"format": "WEBP"},
}


def test_images_are_known_by_content(tmp_path: Path) -> None:
    for name, options in SAVED.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        FLAT.save(tmp_path / name, **options)
    texts = {"notes.txt": "P1 is the first", "BM": "BMW", "empty": "", "a.eps": "%!PS-Adobe-3.0"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "pipe.png")
    found = find_images(tmp_path)
    assert found.images == sorted(SAVED)
    assert found.others == sorted([*texts, "pipe.png"])
    for name in found.images:
        mean = Decoder(8)(tmp_path / name).mean((1, 2))
        assert np.abs(mean - (200, 100, 50)).max() < 6, name


def test_heic_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    for name in ("a.heic", "b.HEIF", "no_suffix"):
        FLAT.save(tmp_path / name, format="HEIF")
    assert image_files(tmp_path) == ["a.heic", "b.HEIF", "no_suffix"]
    assert np.abs(Decoder(8)(tmp_path / "a.heic").mean((1, 2)) - (200, 100, 50)).max() < 6
    with monkeypatch.context() as context:
        context.setattr(finding, "formats", lambda: finding.SIGNED)
        finding.usual_suffixes.cache_clear()
        found = find_images(tmp_path)
        assert found.images == []
        (line,) = finding.describe_left_out(tmp_path, found)
        assert "a.heic" in line
        assert "pip install 'pmnar[heic]'" in line
    finding.usual_suffixes.cache_clear()


def test_links_are_followed_and_loops_told(tmp_path: Path) -> None:
    root, far = tmp_path / "root", tmp_path / "far"
    write_image_folder(root, num_classes=2, test_per_class=0)
    far.mkdir()
    FLAT.save(far / "far.png")
    (far / "back").symlink_to(root / "class0")  # a loop once `far` is inside class0
    (far / "on").symlink_to(tmp_path / "further")
    (tmp_path / "further").mkdir()
    FLAT.save(tmp_path / "further" / "further.png")
    (root / "class0" / "a_link").symlink_to(far)
    (root / "class0" / "up").symlink_to(root)
    (root / "class0" / "again").symlink_to(root / "class0")
    (root / "class0" / "one.png").symlink_to(far / "far.png")
    found = find_images(root / "class0")
    numbered = [f"{at:04d}.png" for at in range(0, 20, 2)]
    assert found.images == [*numbered, "a_link/far.png", "a_link/on/further.png", "one.png"]
    assert found.loops == ["a_link/back", "again", "up"]
    with pytest.warns(UserWarning, match="3 links in .* not followed, .*class0/a_link/back"):
        ImageFolder(root).prepare()


def test_links_that_lead_nowhere_else_are_no_class(tmp_path: Path) -> None:
    write_image_folder(tmp_path, num_classes=2, test_per_class=0)
    for link, target in {"self": "self", "up": ".", "class0/self": "self"}.items():
        (tmp_path / link).symlink_to(target)
    with pytest.warns(UserWarning, match="3 links in .* not followed, .*: self, up, class0/self$"):
        ImageFolder(tmp_path).prepare()
    data = ImageFolder(tmp_path).load()
    assert data.class_names == ("class0", "class1")
    assert len(data.train) + len(data.test["test"]) == 20


def test_a_broken_link_is_unreadable_not_absent(tmp_path: Path) -> None:
    write_image_folder(tmp_path, num_classes=2, test_per_class=0)
    (tmp_path / "class1" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match=r"class1/gone.png is unreadable"):
        ImageFolder(tmp_path).prepare()


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    write_image_folder(tmp_path, num_classes=2, test_per_class=0)
    FLAT.save(tmp_path / "beside.png")
    for at in range(4):
        (tmp_path / "class1" / f"{at}.xmp").write_text("no image")
    line = (
        f"5 files in {tmp_path} left out, no image that can be read: "
        "beside.png, class1/0.xmp, class1/1.xmp, …"
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(line)}$"):
        ImageFolder(tmp_path).prepare()
