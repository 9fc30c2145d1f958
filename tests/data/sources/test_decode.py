import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pmnar.data.sources.decode import Decoder, Peaks, decode_files
from pmnar.data.sources.finding import image_files
from pmnar.errors import InputError

SIDE = 8
RAMP = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) * 4
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1)


def save(folder: Path, image: Image.Image, name: str = "image.png", **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("channels", [1, 3])
def test_gray_and_colour_become_the_asked_channels(tmp_path: Path, channels: int) -> None:
    decode = Decoder(SIDE, channels)
    gray = decode(save(tmp_path, Image.fromarray(RAMP)))
    assert gray.shape == (channels, SIDE, SIDE)
    assert (gray == RAMP).all()
    colour = decode(save(tmp_path, Image.fromarray(COLOUR)))
    luma = np.asarray(Image.fromarray(COLOUR).convert("L"))[None]
    assert np.array_equal(colour, COLOUR.transpose(2, 0, 1) if channels == 3 else luma)


@pytest.mark.parametrize(
    ("name", "dtype"), [("deep.png", "<u2"), ("deep.tif", "<u2"), ("deep.tif", ">u2")]
)
def test_16_bit_gray_is_scaled(tmp_path: Path, name: str, dtype: str) -> None:
    deep = RAMP.astype(dtype) * 257
    path = save(tmp_path, Image.fromarray(deep), name)
    assert Image.open(path).mode.startswith("I;16")
    assert (Decoder(SIDE, 1)(path) == RAMP).all()


def test_16_bit_gray_is_rounded(tmp_path: Path) -> None:
    deep = np.full((SIDE, SIDE), 65535 - 200, dtype=np.uint16)
    expected = round((65535 - 200) / 257)
    assert (Decoder(SIDE, 3)(save(tmp_path, Image.fromarray(deep))) == expected).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_fewer_bits_are_scaled_to_white(tmp_path: Path, bits: int) -> None:
    top = 2**bits - 1
    deep = np.linspace(0, top, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    got, peaks = Decoder(SIDE, 1, bits).decode(save(tmp_path, Image.fromarray(deep)))
    assert peaks == Peaks(gray=top)
    assert np.array_equal(got[0], np.floor(deep * (255 / top) + 0.5))
    assert Decoder(SIDE).decode(save(tmp_path, Image.fromarray(RAMP)))[1] == Peaks()


def test_16_bit_pgm_is_scaled(tmp_path: Path) -> None:
    path = tmp_path / "deep.pgm"
    deep = RAMP.astype(np.uint16) * 257
    path.write_bytes(b"P5 8 8 65535\n" + deep.astype(">u2").tobytes())
    assert (Decoder(SIDE, 1)(path) == RAMP).all()


def test_transparent_pixels_are_laid_on_white(tmp_path: Path) -> None:
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[:, :4] = 255
    pixels = np.dstack([COLOUR, alpha])
    got = Decoder(SIDE)(save(tmp_path, Image.fromarray(pixels))).transpose(1, 2, 0)
    assert np.array_equal(got[:, :4], COLOUR[:, :4])
    assert (got[:, 4:] == 255).all()
    gray = np.dstack([RAMP, alpha])
    got = Decoder(SIDE, 1)(save(tmp_path, Image.fromarray(gray, mode=None), "gray.png"))[0]
    assert np.array_equal(got[:, :4], RAMP[:, :4])
    assert (got[:, 4:] == 255).all()


@pytest.mark.parametrize("transparent", [False, True])
def test_palette_colours_are_looked_up(tmp_path: Path, transparent: bool) -> None:
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.putpixel((0, 0), 0)
    options: dict[str, Any] = {"transparency": 0} if transparent else {}
    got = Decoder(SIDE)(save(tmp_path, image, **options))
    assert got[:, 5, 5].tolist() == [10, 200, 30]
    assert got[:, 0, 0].tolist() == ([255] * 3 if transparent else [0] * 3)


@pytest.mark.parametrize("mode", ["1", "CMYK"])
def test_other_modes_are_converted(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    got = Decoder(SIDE)(save(tmp_path, image, "image.tif"))
    assert np.array_equal(got, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["RGB", "L"])
def test_exif_orientation_is_applied(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(COLOUR).convert(kind)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    got = Decoder(SIDE)(save(tmp_path, image, exif=exif))
    expected = image.transpose(Image.Transpose.ROTATE_270).convert("RGB")
    assert np.array_equal(got, np.asarray(expected).transpose(2, 0, 1))


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR)
    got = Decoder(SIDE)(save(tmp_path, image, exif=b"Exif\x00\x00" + b"\xff" * 20))
    assert np.array_equal(got, COLOUR.transpose(2, 0, 1))


def test_resizes_bilinear_with_antialias(tmp_path: Path) -> None:
    checkers = np.indices((32, 16)).sum(0).astype(np.uint8) % 2 * 255
    got = Decoder(4, 1)(save(tmp_path, Image.fromarray(checkers)))
    assert got.shape == (1, 4, 4)
    assert np.abs(got.astype(int) - 127).max() <= 20  # plain sampling would give 0 or 255


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "a.png"),
        (b"text", "a.jpg"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "a.png"),
    ],
)
def test_what_is_no_image_fails(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OSError, match="cannot identify"):
        Decoder(SIDE)(tmp_path / name)


def test_floating_point_image_fails(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(RAMP.astype(np.float32)), "image.tif")
    with pytest.raises(ValueError, match="no fixed range"):
        Decoder(SIDE)(path)


def test_images_over_pillows_limit_are_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to twice the limit Pillow only warns, of every image: those are read in silence."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    save(tmp_path, Image.fromarray(RAMP), "large.png")
    Image.new("L", (9, 9)).save(tmp_path / "huge", format="PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = image_files(tmp_path)
        (chunk,) = decode_files(tmp_path, names, Decoder(SIDE, 1), "test")
    assert names == ["huge", "large.png"]
    assert (chunk.images[1] == RAMP).all()
    assert chunk.failures == {"huge": "over 80 pixels, Pillow's limit: scale it down"}


def test_many_files_come_in_order_with_the_failures(tmp_path: Path) -> None:
    names = [f"{at:03d}.png" for at in range(150)]
    for at, name in enumerate(names):
        save(tmp_path, Image.new("L", (2, 2), at), name)
    (tmp_path / names[70]).write_bytes(b"\x89PNG torn")
    (tmp_path / names[140]).unlink()
    chunks = list(decode_files(tmp_path, names, Decoder(2, 1), "test"))
    values = np.concatenate([chunk.images for chunk in chunks])[:, 0, 0, 0]
    expected = np.arange(150)
    expected[[70, 140]] = 0
    assert np.array_equal(values, expected)
    failures = {name: reason for chunk in chunks for name, reason in chunk.failures.items()}
    assert list(failures) == [names[70], names[140]]
    assert "\n" not in "".join(failures.values())


def test_image_files_are_found_by_suffix_at_any_depth(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/c.jpeg", "notes.txt", ".hidden.png", ".cache/d.png", "noext"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert image_files(tmp_path) == ["a/c.jpeg", "b.PNG"]
    assert image_files(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("size", "channels", "key"), [(0, 3, "image_size"), (32, 2, "channels"), (32, 4, "channels")]
)
def test_impossible_options_are_refused(size: int, channels: int, key: str) -> None:
    with pytest.raises(InputError, match=f"dataset.source.{key} must be"):
        Decoder(size, channels)
    with pytest.raises(InputError, match=r"dataset.source.gray_bits must be from 1 to 16, got 17"):
        Decoder(32, 3, 17)
    words: list[Any] = ["many", 12.5]
    for word in words:
        with pytest.raises(InputError, match=rf"gray_bits must be .*, got {word}"):
            Decoder(32, 3, word)
        with pytest.raises(InputError, match=rf"image_size must be .*, got {word}"):
            Decoder(word)
