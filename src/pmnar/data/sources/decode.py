"""Image files to uint8 arrays, many at a time."""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pmnar.data.sources.finding import formats, formats_of, read_large_images
from pmnar.errors import InputError

ByteArray = NDArray[np.uint8]

CHUNK = 64


class Peaks(NamedTuple):
    """The greatest values of 16-bit images, 0..65535; 0 where there are none.

    Attributes:
        gray: of gray ones.
        colour: of colours, of which Pillow keeps 8 bits: as much as it can have been.
    """

    gray: int = 0
    colour: int = 0

    def with_those(self, other: "Peaks") -> "Peaks":
        """The greatest values of both."""
        return Peaks(max(self.gray, other.gray), max(self.colour, other.colour))


NONE = Peaks()


@dataclass(frozen=True)
class Decoder:
    """How an image file becomes `[channels, size, size]` bytes.

    Turned upright by its EXIF orientation; 16-bit gray scaled (0..65535, or what `gray_bits` says,
    to 0..255, one scale for all); anything transparent laid on white; the first frame of an
    animation; stretched to a square (bilinear, antialiased).

    Attributes:
        size: height and width, at least 1.
        channels: 1 (gray) or 3 (RGB).
        gray_bits: bits that are used of 16-bit gray, 1 to 16: cameras of 12 bits and CT scanners
            store 0..4095, which would be nearly black. Greater values become white.
    """

    size: int
    channels: int = 3
    gray_bits: int = 16

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or self.size < 1:
            raise InputError(f"dataset.source.image_size must be at least 1, got {self.size}")
        if self.channels not in (1, 3):
            raise InputError(f"dataset.source.channels must be 1 or 3, got {self.channels}")
        if self.gray_bits not in range(1, 17):
            raise InputError(f"dataset.source.gray_bits must be from 1 to 16, got {self.gray_bits}")

    def __call__(self, path: Path) -> ByteArray:
        """The image, uint8 `[channels, size, size]`; any `Exception` where it is unreadable."""
        return self.decode(path)[0]

    def decode(self, path: Path) -> tuple[ByteArray, Peaks]:
        """The image, and its greatest value where it has 16 bits."""
        mode = "L" if self.channels == 1 else "RGB"
        try:
            with Image.open(path, formats=formats_of(path)) as opened:
                is_deep = _has_deep_colours(opened)  # once it is loaded it does not say
                opened.load()
                colour = _colour_peak(opened) if is_deep else 0
                image, gray = _eight_bit(_upright(opened), self.gray_bits)
                image = _opaque(image).convert(mode)
        except Image.DecompressionBombError:
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            raise ValueError(f"over {most:,} pixels, Pillow's limit: scale it down") from None
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.uint8).reshape(self.size, self.size, self.channels)
        return pixels.transpose(2, 0, 1), Peaks(gray, colour)


def typical_side(root: Path, paths: Sequence[str], otherwise: int = 32) -> int:
    """The median of the shorter sides, in pixels, of some images; only their headers are read.

    Args:
        root: their folder.
        paths: below it; up to 50 are looked at, evenly spaced.
        otherwise: the answer where none can be read.
    """
    formats()
    read_large_images()
    sides = []
    for path in paths[:: max(len(paths) // 50, 1)]:
        with suppress(Exception), Image.open(root / path, formats=formats_of(root / path)) as image:
            sides.append(min(image.size))
    return int(median(sides)) if sides else otherwise


@dataclass(frozen=True)
class Chunk:
    """Decoded neighbours.

    Attributes:
        images: uint8 `[n, C, H, W]`; zeros where a file is unreadable.
        failures: the reason for each unreadable file.
        peaks: the greatest values of those of 16 bits.
    """

    images: ByteArray
    failures: dict[str, str]
    peaks: Peaks = NONE


def decode_files(
    root: Path, paths: Sequence[str], decoder: Decoder, title: str
) -> Generator[Chunk, None, None]:
    """Chunks in the order of `paths`, decoded by a thread pool, with a progress bar on stderr."""
    Image.init()  # registers the formats once, before the threads ask for them
    formats()
    read_large_images()
    starts = range(0, len(paths), CHUNK)
    pool = ThreadPoolExecutor()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    try:
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
            task = progress.add_task(f"decoding {title}", total=len(paths))
            chunks = pool.map(
                lambda at: _decode_chunk(root, paths[at : at + CHUNK], decoder), starts
            )
            for chunk in chunks:
                yield chunk
                progress.advance(task, len(chunk.images))
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_chunk(root: Path, paths: Sequence[str], decoder: Decoder) -> Chunk:
    images = np.zeros((len(paths), decoder.channels, decoder.size, decoder.size), dtype=np.uint8)
    failures, peaks = {}, NONE
    for image, path in zip(images, paths, strict=True):
        try:
            image[:], own = decoder.decode(root / path)
            peaks = peaks.with_those(own)
        except Exception as error:  # decoders raise errors of every kind on damaged files
            failures[path] = " ".join(str(error).split()) or type(error).__name__
    return Chunk(images, failures, peaks)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data says nothing against the pixels
        return image


def _has_deep_colours(image: Image.Image) -> bool:
    """Whether colours are stored in 16 bits each.

    PNG and TIFF say so by the raw mode that they are read in, PPM by what it calls white.
    """
    if image.mode.startswith("I"):
        return False
    stored = [(tile[0], tile[3]) for tile in getattr(image, "tile", ())]
    return any(
        ";16" in str(args) or (codec == "ppm" and isinstance(args, tuple) and args[1] > 255)
        for codec, args in stored
    )


def _colour_peak(image: Image.Image) -> int:
    """The greatest value that a colour of so many upper 8 bits can have had in 16."""
    tops = zip(image.getbands(), image.split(), strict=True)
    return 256 * max(int(np.asarray(band).max()) for name, band in tops if name != "A") + 255


def _eight_bit(image: Image.Image, bits: int) -> tuple[Image.Image, int]:
    """With 0..2^bits − 1 scaled to 0..255, rounded, and the greatest value; 0 if not scaled."""
    if image.mode == "F":
        raise ValueError("floating-point images have no fixed range of values")
    if not image.mode.startswith("I"):
        return image, 0
    values, top = np.asarray(image).astype(np.int64), 2**bits - 1
    scaled = (values.clip(0, top) * 510 + top) // (2 * top)
    return Image.fromarray(scaled.astype(np.uint8)), int(values.max())


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))
