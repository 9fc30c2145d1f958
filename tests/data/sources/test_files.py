import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from official_data import trust_mnist, write_mnist
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from pmnar.data.sources import CIFAR10, MNIST
from pmnar.data.sources.files import download
from pmnar.errors import InputError


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the url at which a local server offers it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_downloads_what_is_absent_from_the_first_mirror_that_has_it(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    write_mnist(tmp_path, zipped=True)
    trust_mnist(monkeypatch, tmp_path)
    shutil.copytree(tmp_path / "MNIST" / "raw", folder / "second")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{url}first/", f"{url}second/"])
    source = MNIST(tmp_path / "fresh")
    source.prepare()
    assert len(source.load().train) == 40
    shutil.rmtree(folder / "second")
    source.prepare()  # nothing is fetched twice
    assert len(list((tmp_path / "fresh" / "MNIST" / "raw").iterdir())) == 8


def test_a_download_with_the_wrong_content_leaves_nothing(
    served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = served
    (folder / "data.gz").write_bytes(b"an error page")
    with pytest.raises(InputError, match=r"data.gz is not in .* could not be downloaded"):
        download([f"{url}data.gz"], tmp_path / "new", "0" * 32)
    assert list((tmp_path / "new").iterdir()) == []
    md5 = calculate_md5(folder / "data.gz")
    path = download([f"{url}data.gz"], tmp_path / "new", md5)
    assert path == tmp_path / "new" / "data.gz"
    assert path.read_bytes() == b"an error page"


def test_no_network_is_one_line_that_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(InputError) as error:
        CIFAR10(tmp_path).prepare()
    message = str(error.value)
    assert message.startswith(f"cifar-10-python.tar.gz is not in {tmp_path} and could not be")
    assert "put it there (md5 c58f30108f718f92721af3b95e74349a), or set data_dir" in message
    assert "\n" not in message


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="set data_dir"):
        download(["http://127.0.0.1:9/data.gz"], tmp_path / "file" / "below", "0" * 32)
