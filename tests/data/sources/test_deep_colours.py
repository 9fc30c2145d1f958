"""Colours of 16 bits, of which Pillow keeps eight: a low range is told, it cannot be scaled."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pmnar.data.sources import ImageFolder
from pmnar.data.sources.decode import Decoder, Peaks

SIDE = 4
KINDS = {"rgb.png": 2, "rgba.png": 6, "gray and alpha.png": 4, "rgb.tif": 2, "rgb.ppm": 2}
"""Names, and PNG's number of what they hold."""
CHANNELS = {2: 3, 4: 2, 6: 4}


def png(pixels: NDArray[np.uint16], kind: int) -> bytes:
    """A 16-bit PNG of `[H, W, C]`, which Pillow cannot write."""

    def part(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    height, width, _ = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(pixels: NDArray[np.uint16]) -> bytes:
    """A 16-bit TIFF of `[H, W, 3]` in one strip."""
    height, width, channels = pixels.shape
    start = 8 + 2 + 12 * 9 + 4
    entries = [
        *((256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, start), (259, 3, 1, 1)),
        *((262, 3, 1, 2), (273, 4, 1, start + 2 * channels), (277, 3, 1, channels)),
        *((278, 3, 1, height), (279, 4, 1, pixels.nbytes)),
    ]
    listed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    bits = struct.pack("<3H", 16, 16, 16)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + listed + struct.pack("<I", 0) + bits + pixels.astype("<u2").tobytes()


def save(path: Path, value: int) -> Path:
    """A 16-bit image of one colour, opaque where it has an alpha channel."""
    kind = KINDS[path.name]
    pixels = np.full((SIDE, SIDE, CHANNELS[kind]), value, np.uint16)
    if kind in (4, 6):
        pixels[..., -1] = 65535
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".ppm":
        path.write_bytes(b"P6 4 4 65535\n" + pixels.astype(">u2").tobytes())
    else:
        path.write_bytes(tiff(pixels) if path.suffix == ".tif" else png(pixels, kind))
    return path


@pytest.mark.parametrize("value", [200, 4095, 60000])
@pytest.mark.parametrize("name", KINDS)
def test_their_greatest_value_is_known_to_eight_bits(tmp_path: Path, name: str, value: int) -> None:
    pixels, peaks = Decoder(SIDE).decode(save(tmp_path / name, value))
    assert peaks.gray == 0
    # A PPM's are rounded, the others cut.
    assert abs(peaks.colour - value) <= (256 + 128 if name == "rgb.ppm" else 256)
    assert abs(int(pixels.max()) - value // 256) <= 1


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm", "jpg"])
def test_eight_bits_are_no_matter(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"shallow.{suffix}"
    Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(path)
    assert Decoder(SIDE).decode(path)[1] == Peaks()


def test_dark_ones_are_told(tmp_path: Path) -> None:
    for name in ("a/0", "a/1", "b/0", "b/1"):
        save(tmp_path / name / "rgb.png", 4095)
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UserWarning, match=r"16-bit colours go up to 4,095 at most, .* dark; sc"):
            ImageFolder(tmp_path, image_size=SIDE).load()
    save(tmp_path / "a" / "0" / "rgb.png", 60000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageFolder(tmp_path, image_size=SIDE).load()
