import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from official_data import (
    CIFAR10_NAMES,
    class_images,
    round_robin,
    trust_cifar,
    write_cifar10,
    write_cifar100,
)
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from pmnar.data.sources import CIFAR10, CIFAR100
from pmnar.errors import InputError

REAL = Path(__file__).parents[3] / "data"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_cifar10(tmp_path)
    trust_cifar(monkeypatch, tmp_path)
    return tmp_path


def pack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive of the tiny CIFAR-10 in `folder`, whose md5 torchvision then expects."""
    shutil.make_archive(
        str(folder / "cifar-10-python"), "gztar", root_dir=folder, base_dir="cifar-10-batches-py"
    )
    archive = folder / "cifar-10-python.tar.gz"
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", calculate_md5(archive))
    return archive


def test_images_are_channels_first_and_in_order(folder: Path) -> None:
    source = CIFAR10(folder, download=False)
    source.prepare()
    data = source.load()
    labels = round_robin(50, 10)
    assert torch.equal(data.train.images, torch.from_numpy(class_images(labels, 3, 32)))
    assert data.train.images.is_contiguous()
    assert data.train.labels.tolist() == labels
    assert data.test["test"].images.shape == (20, 3, 32, 32)
    assert data.class_names == CIFAR10_NAMES


def test_cifar100_has_the_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar100(tmp_path)
    trust_cifar(monkeypatch, tmp_path, "CIFAR100")
    data = CIFAR100(tmp_path, download=False).load()
    assert data.name == "cifar100"
    assert data.train.labels.tolist() == round_robin(200, 100)
    assert data.class_names[42] == "fine42"


def test_unpacks_the_archive_where_it_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(folder, monkeypatch)
    shutil.rmtree(folder / "cifar-10-batches-py")
    source = CIFAR10(folder, download=False)
    source.prepare()
    assert len(source.load().train) == 50
    assert not list(folder.glob(".partial-*"))


def test_truncated_archive_names_file_and_both_sums(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(folder, monkeypatch)
    expected = calculate_md5(archive)
    archive.write_bytes(archive.read_bytes()[:-100])
    shutil.rmtree(folder / "cifar-10-batches-py")
    message = f"{archive} is damaged: md5 {calculate_md5(archive)}, expected {expected}; .*data_dir"
    with pytest.raises(InputError, match=message):
        CIFAR10(folder).prepare()
    assert not (folder / "cifar-10-batches-py").exists()


@pytest.mark.parametrize("archive", ["none", "good", "bad"])
def test_damaged_member_names_file_both_sums_and_a_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, archive: str
) -> None:
    member = folder / "cifar-10-batches-py" / "data_batch_3"
    expected = calculate_md5(member)
    if archive != "none":
        path = pack(folder, monkeypatch)
    if archive == "bad":
        path.write_bytes(b"torn")
    member.write_bytes(member.read_bytes()[:-1])
    remedy = {
        "none": "delete it to get it again",
        "good": "delete it to unpack it again from cifar-10-python.tar.gz",
        "bad": "cifar-10-python.tar.gz is damaged: md5 .*, expected",
    }
    source = CIFAR10(folder, download=False)
    source.prepare()
    with pytest.raises(InputError, match=remedy[archive]) as error:
        source.load()
    message = str(error.value)
    assert message.startswith(f"{member} is damaged: md5 {calculate_md5(member)}, ")
    assert f"expected {expected}" in message
    assert "data_dir" in message
    assert "\n" not in message


def test_nothing_there_and_no_download(tmp_path: Path) -> None:
    source = CIFAR10(tmp_path, download=False)
    message = (
        f"cifar10 is not in {re.escape(str(tmp_path))}: put the folder cifar-10-batches-py or the "
        "archive cifar-10-python.tar.gz .*c58f30108f718f92721af3b95e74349a.*data_dir"
    )
    for call in (source.prepare, source.load):
        with pytest.raises(InputError, match=message):
            call()


def needs_real() -> None:
    if not (REAL / "cifar-10-batches-py" / "test_batch").is_file():
        pytest.skip("CIFAR-10 is not there")


@pytest.mark.data
def test_real_cifar10() -> None:
    needs_real()
    source = CIFAR10(REAL, download=False)
    source.prepare()
    data = source.load()
    assert data.train.images.shape == (50_000, 3, 32, 32)
    assert data.train.labels.bincount().tolist() == [5000] * 10
    assert data.test["test"].labels.bincount().tolist() == [1000] * 10
    assert data.train.labels[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7]
    assert data.class_names == CIFAR10_NAMES
    assert int(data.train.images.sum(dtype=torch.int64)) == 18540682003
    assert int(data.test["test"].images.sum(dtype=torch.int64)) == 3733375634


PEAK = """
import sys
from pathlib import Path
import torch
from pmnar.data.sources import CIFAR10
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = peak()
source = CIFAR10(sys.argv[1], download=False)
source.prepare()
data = source.load()
print((peak() - before) / 1024)
"""


@pytest.mark.data
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak memory")
def test_real_cifar10_adds_less_than_500_mebibytes() -> None:
    """In a process of its own, by its high-water mark (ru_maxrss would include the parent's)."""
    needs_real()
    command = [sys.executable, "-c", PEAK, str(REAL)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 180 < float(result.stdout) < 500
