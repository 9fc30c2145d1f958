import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pmnar.errors import InputError
from pmnar.noise import CleanLabels, Human, inject
from pmnar.noise.human import read_human_labels

ROOT = Path(__file__).parents[2]
TRUE = np.arange(50_000) % 10
CLEAN = CleanLabels(TRUE, 10, "cifar10")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "CIFAR-10_human.pt"
    torch.save({"clean_label": TRUE, "worse_label": (TRUE + (TRUE < 4)) % 10}, path)
    return path


def real_file(name: str) -> Path:
    for folder in (ROOT / "data", ROOT.parent / "shared" / "data"):
        if (path := folder / "cifar-n" / name).is_file():
            return path
    pytest.skip(f"no cifar-n/{name}")


@pytest.mark.data
@pytest.mark.parametrize(
    ("dataset", "key", "name", "wrong"),
    [
        ("cifar10", "aggre_label", "human_aggre", 4505),
        ("cifar10", "random_label1", "human_random1", 8617),
        ("cifar10", "random_label2", "human_random2", 9061),
        ("cifar10", "random_label3", "human_random3", 8820),
        ("cifar10", "worse_label", "human_worse", 20104),
        ("cifar100", "noisy_label", "human_fine", 20100),
    ],
)
def test_rates_of_the_official_files(dataset: str, key: str, name: str, wrong: int) -> None:
    path = real_file("CIFAR-10_human.pt" if dataset == "cifar10" else "CIFAR-100_human.pt")
    true = np.asarray(read_human_labels(path)["clean_label"])
    clean = CleanLabels(true, int(true.max()) + 1, dataset)
    labels = inject(Human(path, key, dataset), clean, 1)
    assert labels.name == name
    assert labels.nominal_rate is None
    assert labels.actual_rate == wrong / 50_000


@pytest.mark.data
def test_the_other_data_set_s_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"clean_label in .* must be in \[0, 10\)"):
        Human(real_file("CIFAR-100_human.pt"), "worse_label", "cifar10")(CLEAN, 1)


def test_a_subset_takes_its_own_labels(file: Path) -> None:
    index = np.array([49_999, 3, 10])
    clean = CleanLabels(TRUE[index], 10, "cifar10", index)
    assert Human(file, "worse_label", "cifar10")(clean, 1).tolist() == [9, 4, 1]


def test_another_data_set(file: Path) -> None:
    clean = CleanLabels(TRUE, 10, "fashion_mnist")
    with pytest.raises(InputError, match="labels of cifar10, but the data set is fashion_mnist"):
        Human(file, "worse_label", "cifar10")(clean, 1)
    with pytest.raises(InputError, match=r"noise\.dataset must be cifar10 or cifar100, got 'mnis"):
        Human(file, "worse_label", "mnist")


@pytest.mark.parametrize("key", ["aggre_label", "clean_label", "nonsense"])
def test_a_key_that_is_not_there(file: Path, key: str) -> None:
    with pytest.raises(InputError, match=f"noise.key must be one of worse_label, got '{key}'"):
        Human(file, key, "cifar10")(CLEAN, 1)


def test_another_order(file: Path) -> None:
    clean = CleanLabels(np.sort(TRUE), 10, "cifar10")
    with pytest.raises(InputError, match=r"clean_label .* at 45000 of 50000 samples: another"):
        Human(file, "worse_label", "cifar10")(clean, 1)


def test_another_length(tmp_path: Path) -> None:
    path = tmp_path / "short.pt"
    torch.save({"clean_label": TRUE[:100], "worse_label": TRUE[:100]}, path)
    with pytest.raises(InputError, match=r"clean_label in .* must have 50000 labels, got 100"):
        Human(path, "worse_label", "cifar10")(CLEAN, 1)
    torch.save({"clean_label": TRUE, "worse_label": TRUE[:100]}, path)
    with pytest.raises(InputError, match=r"worse_label in .* must have 50000 labels, got 100"):
        Human(path, "worse_label", "cifar10")(CLEAN, 1)


def test_an_index_outside(file: Path) -> None:
    clean = CleanLabels(TRUE[:1], 10, "cifar10", np.array([50_000]))
    with pytest.raises(InputError, match=r"needs indices in \[0, 50000\)"):
        Human(file, "worse_label", "cifar10")(clean, 1)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"noise\.path: there is no file .*UCSC-REAL/cifar-10-100n"
    ):
        Human(tmp_path / "absent.pt", "worse_label", "cifar10")(CLEAN, 1)


class Foreign:
    """What a full unpickler would build."""


@pytest.mark.parametrize("kind", ["text", "pickle", "object array", "no dict", "no clean_label"])
def test_files_of_another_kind(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file.pt"
    if kind == "text":
        path.write_text("not found")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"clean_label": Foreign()}, protocol=2))
    elif kind == "object array":
        torch.save({"clean_label": np.array([{}], object)}, path)
    else:
        torch.save([1] if kind == "no dict" else {"a": 1}, path)
    with pytest.raises(InputError, match=r"noise\.path: .* CIFAR-N label file"):
        Human(path, "worse_label", "cifar10")(CLEAN, 1)
