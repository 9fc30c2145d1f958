"""Printed commands come back through the shell's grammar and Hydra's as the values they are of."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pmnar.runtime.typed import assignment, command, hydra_quoted

PATHS = [
    *("/data/a=b", "/data/(new)", "a,b", "/data/[x]", "/data/#1", "/data/it's", "/data/a b"),
    *("/data/Bücher/猫", '/data/"so"', "/data/a\\b", "/data/end\\", "/data/a\\'b", "/data/a'"),
    *("/data/${HOME}", "/data/\\${x}", "/data/$HOME`ls`!", "/ ", " /a", "a / b", "/data/a:b"),
    *("~/x", " x "),
    *("12", "1e3", "null", "true", "", "/data/*?", "/data/\udcff", "/data/100%", "/a;b|c&d<e>f"),
    *("runs/digits/sym50/pmnar/20260101-000000-abcdef", "/data/a\\\\'", "/data/\\\\${x}"),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_value_comes_back(path: str) -> None:
    words = shlex.split(command("train", resume=path))
    assert words[-2] == "src.train"
    override = OverridesParser.create().parse_override(words[-1])
    assert not override.is_sweep_override()
    assert OmegaConf.create({"resume": override.value()}).resume == path


def test_quotes_only_where_they_are_needed() -> None:
    assert assignment("run", "runs/digits/a-1") == "run=runs/digits/a-1"
    assert assignment("run", "a=b") == "run=\"'a=b'\""
    assert hydra_quoted("12") == "'12'"
