"""Image files in a folder, by what they hold: what other programs leave there is not seen."""

import errno
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from pmnar.errors import InputError

SIGNED = (
    *("AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GIF", "ICNS"),
    *("ICO", "JPEG", "JPEG2000", "MSP", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN"),
    *("TIFF", "WEBP", "XBM", "XPM"),
)
"""Formats that are known by their first bytes. No EPS, PS or WMF: those run a program."""

OTHERS_FOLDERS = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp"),
        *("lost+found", "__macosx", "$recycle.bin", "system volume information"),
        *("network trash folder", "temporary items"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"),
        *("__pycache__", "found.000"),
    )
)
"""What storage devices and desktops put between a user's files, in lower case."""

SHOWN = 3


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no part of what a user keeps in a folder."""
    return (
        name.startswith(".")
        or name.lower() in OTHERS_FOLDERS
        or name.endswith((":Zone.Identifier", "@SynoEAStream", "@SynoResource"))
    )


def subfolders(folder: Path) -> list[str]:
    """The folders in a folder by name, links to some included, hidden ones and loops not."""
    return [entry.name for entry in _entries(folder) if _is_folder(entry) and not _is_loop(entry)]


def looping_links(folder: Path) -> list[str]:
    """The links in a folder that lead to themselves, to it or to a folder that holds it."""
    return [entry.name for entry in _entries(folder) if _is_loop(entry)]


@dataclass
class Found:
    """What lies in and below a folder, each list sorted, with `/` between the parts.

    Attributes:
        images: image files.
        others: files that are none, or that cannot be read here.
        loops: links to a folder that has been read, or that holds this one: not followed.
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)


def find_images(folder: Path) -> Found:
    """The files in and below `folder`, links followed, relative to it; hidden ones left out.

    A usual suffix is believed (a file that lies is told once it is decoded); any other file is an
    image where its first bytes say so. Nothing is found where there is no folder.

    Raises:
        InputError: a folder may not be read.
    """
    found = Found()
    if not folder.is_dir():
        return found
    read_large_images()
    seen = {_identity(parent) for parent in folder.resolve().parents}
    folders, links = [""], list[str]()
    while folders or links:  # what is really there goes first, and keeps its own name
        at = folders.pop() if folders else links.pop(0)
        identity = _identity(folder / at)
        if identity in seen:
            found.loops.append(at)
            continue
        seen.add(identity)
        for entry in _entries(folder / at):
            path = f"{at}/{entry.name}" if at else entry.name
            if _is_loop(entry):
                found.loops.append(path)
            elif _is_folder(entry):
                (links if entry.is_symlink() else folders).append(path)
            else:
                (found.images if _is_image(entry) else found.others).append(path)
    for paths in (found.images, found.others, found.loops):
        paths.sort()
    return found


def image_files(folder: Path) -> list[str]:
    """The images that `find_images` finds."""
    return find_images(folder).images


def loose_images(folder: Path) -> list[str]:
    """Image files in `folder` itself, by usual suffix."""
    return [
        entry.name
        for entry in _entries(folder)
        if _is_file(entry) and Path(entry.name).suffix.lower() in usual_suffixes()
    ]


@cache
def formats() -> tuple[str, ...]:
    """The formats to try, HEIF among them where pillow-heif is installed."""
    if find_spec("pillow_heif") is None:
        return SIGNED
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (*SIGNED, "HEIF")


def read_large_images() -> None:
    """Let Pillow not warn of each image over half the pixels that it refuses."""
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def formats_of(path: Path) -> tuple[str, ...]:
    """The formats that a file may have: TGA has no signature and goes by its suffix."""
    return ("TGA",) if path.suffix.lower() == ".tga" else formats()


@cache
def usual_suffixes() -> frozenset[str]:
    """Every suffix of the formats, in lower case."""
    names = {*formats(), "MPO", "TGA"}  # MPO is opened as the JPEG that it begins with
    return frozenset(end for end, name in Image.registered_extensions().items() if name in names)


def describe_left_out(root: Path, found: Found) -> list[str]:
    """Lines on the files and links under `root` that are not read; none where all are."""
    lines = []
    if found.others:
        lines.append(
            f"{_count(len(found.others), 'file')} in {root} left out, no image that can be read: "
            f"{first_few(found.others)}{heic_hint(root, found.others)}"
        )
    if found.loops:
        lines.append(
            f"{_count(len(found.loops), 'link')} in {root} not followed, to folders that are read "
            f"already or that hold them: {first_few(found.loops)}"
        )
    return lines


def first_few(names: Sequence[str]) -> str:
    """The first of some names, for a line."""
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def heic_hint(root: Path, paths: Sequence[str]) -> str:
    """How to read HEIC, where some of the files are such and nothing is there that reads them."""
    if "HEIF" in formats() or not any(_is_heic(root / path) for path in paths):
        return ""
    return "; pip install 'pmnar[heic]' reads HEIC"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (entry for entry in entries if not is_hidden(entry.name)),
                key=lambda entry: entry.name,
            )
    except OSError as error:
        reason = f"{folder} cannot be read ({error.strerror}): data_dir"
        raise InputError(reason) from None


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link that goes in circles, or through a folder that is closed
        return entry.is_dir()
    return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_file()
    return False


def _is_loop(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return False
    try:
        if not entry.is_dir():
            return False
    except OSError as error:
        return error.errno == errno.ELOOP
    here = Path(os.path.realpath(entry.path, strict=False))
    return Path(os.path.realpath(Path(entry.path).parent)).is_relative_to(here)


def _is_image(entry: os.DirEntry[str]) -> bool:
    usual = Path(entry.name).suffix.lower() in usual_suffixes()
    if not _is_file(entry):  # a pipe would be waited for; a broken link is told when decoded
        return usual and entry.is_symlink() and not os.access(entry.path, os.F_OK)
    return usual or _looks_like_image(Path(entry.path))


def _looks_like_image(path: Path) -> bool:
    try:
        with Image.open(path, formats=formats()):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # of every kind, where the first bytes are an image's and the next are not
        return False


def _is_heic(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        head = file.read(12)
        return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
    return False
