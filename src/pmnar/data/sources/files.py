"""Files of torchvision's data sets: fetched, checked and unpacked, each whole or not at all."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from torchvision.datasets.utils import calculate_md5, download_url, extract_archive

from pmnar.errors import InputError

SECONDS_WITHOUT_ANSWER = 30.0


def describe_damage(path: Path, expected: str) -> str | None:
    """One line with both md5 sums where the file's differs from the expected one, else None."""
    found: str = calculate_md5(path)
    return None if found == expected else f"{path} is damaged: md5 {found}, expected {expected}"


def require_md5(path: Path, expected: str) -> None:
    """Raises `InputError` where the file's md5 differs from the expected one."""
    damage = describe_damage(path, expected)
    if damage:
        raise InputError(f"{damage}; delete it to download it again, or change data_dir")


def download(urls: Sequence[str], folder: Path, md5: str) -> Path:
    """Download one file, from the first url that works, with a progress bar.

    Returns:
        The file in `folder`, under the name that the urls end in; complete and checked.

    Raises:
        InputError: no url could be reached or gave the right content.
    """
    name = urls[0].rsplit("/", 1)[1]
    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".partial-") as partial, _time_limit():
            for url in urls:
                try:
                    download_url(url, partial, name, md5)
                except (OSError, RuntimeError, HTTPException) as error:
                    reasons.append(f"{url}: {' '.join(str(error).split())}")
                else:
                    return (Path(partial) / name).replace(folder / name)
    except OSError as error:
        reasons.append(str(error))
    raise InputError(
        f"{name} is not in {folder} and could not be downloaded ({'; '.join(reasons)}): "
        f"put it there (md5 {md5}), or set data_dir to where the data set is"
    )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a `.tar.gz` or a `.gz` into `folder`, replacing its files one by one.

    Raises:
        InputError: `folder` cannot be written.
    """
    try:
        with TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
            extract_archive(archive, partial)
            for file in (path for path in Path(partial).rglob("*") if path.is_file()):
                target = folder / file.relative_to(partial)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
    except OSError as error:
        raise InputError(f"{archive} cannot be unpacked ({error}); change data_dir") from error


@contextmanager
def _time_limit() -> Iterator[None]:
    """A server that never answers ends in an error: torchvision sets no time limit itself."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_WITHOUT_ANSWER)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
