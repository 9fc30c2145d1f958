"""Seeds."""

import subprocess
import sys

from pmnar.runtime.seeding import derive_seed

GOLDEN = {
    (1, "order", 0): 445_740_416_922_298_889,
    (1, "order", 1): 3_964_172_194_084_409_393,
    (1, "draws", 0, 0): 2_898_092_279_172_986_343,
    (2, "initial weights", "first"): 2_822_962_648_020_426_358,
    (): 8_238_016_292_129_134_938,
}


def test_seeds_stay_what_they_were() -> None:
    """A change here changes every published number."""
    assert {parts: derive_seed(*parts) for parts in GOLDEN} == GOLDEN


def test_seeds_are_the_same_in_another_process() -> None:
    """Whatever `PYTHONHASHSEED` is there."""
    program = "from pmnar.runtime.seeding import derive_seed; print(derive_seed(1, 'order', 0))"
    path = ":".join(sys.path)
    out = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": path, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert int(out.stdout) == derive_seed(1, "order", 0)


def test_every_part_and_its_place_counts() -> None:
    parts: list[tuple[int | str, ...]] = [
        (1,),
        (2,),
        (1, 2),
        (2, 1),
        (12,),
        (1, 2, 0),
        (1, "a"),
        (1, "b"),
        ("a", 1),
        ("1a",),
        (1, "a", ""),
        (-1,),
        (),
    ]
    assert len({derive_seed(*part) for part in parts}) == len(parts)


def test_seeds_fill_the_range_that_generators_take() -> None:
    seeds = [derive_seed(i) for i in range(4000)]
    assert len(set(seeds)) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)
    for bit in range(63):
        assert 1700 < sum(seed >> bit & 1 for seed in seeds) < 2300
