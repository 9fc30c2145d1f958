"""A method built in Python without settings is the one that its yaml describes."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from every import CONF, METHODS
from hydra.utils import get_class
from omegaconf import OmegaConf

from pmnar.methods import NoisyLabelMethod
from pmnar.methods.pmnar_beyond import Beyond

NOT_A_METHOD_S = {"_target_", "name", "gradient_clip", "defaults"}
"""Keys of a yaml that no constructor of a method is given."""
HANDED_ON = {"PMNAR": Beyond}
"""What takes the keywords that a constructor hands on to no base."""


def written(name: str) -> dict[str, Any]:
    """What a method's yaml says, with what it inherits from another's."""
    file = OmegaConf.to_container(OmegaConf.load(Path(CONF, "method", f"{name}.yaml")))
    assert isinstance(file, dict)
    above = [each for each in file.get("defaults", []) if each in METHODS]
    found: dict[str, Any] = {}
    for each in above:
        found |= written(each)
    return found | {str(key): value for key, value in file.items()}


def default_of(method: type, key: str) -> Any:
    """A constructor's default, or that of the nearest base which has one; `empty` without."""
    for kind in (*method.__mro__, HANDED_ON.get(method.__name__, object)):
        found = inspect.signature(kind.__dict__.get("__init__", object)).parameters.get(key)
        if found is not None and found.default is not inspect.Parameter.empty:
            return list(found.default) if isinstance(found.default, tuple) else found.default
    return inspect.Parameter.empty


FILES = {name: written(name) for name in METHODS}
CLASSES = sorted({str(file["_target_"]) for file in FILES.values()})


@pytest.mark.parametrize("target", CLASSES)
def test_a_constructor_s_defaults_are_its_yaml_s(target: str) -> None:
    """Where several yamls have one class, and differ, one of theirs."""
    method = get_class(target)
    assert issubclass(method, NoisyLabelMethod)
    files = [file for file in FILES.values() if file["_target_"] == target]
    compared = 0
    for key in {key for file in files for key in file} - NOT_A_METHOD_S:
        default = default_of(method, key)
        values = [file[key] for file in files if key in file]
        follows = any("${" in str(value) for value in values)  # the data set's recipe
        if default is not inspect.Parameter.empty and not follows:
            assert default in values, f"{key}: {default} in Python, {values} in conf/method"
            compared += 1
    assert compared


def test_every_default_is_found_where_it_is() -> None:
    """Of a constructor, of its base, and of what keywords are handed on to."""
    for target, key in {
        "pmnar.methods.UNICON": "divisor",
        "pmnar.methods.DivideMix": "temperature",
        "pmnar.methods.PMNAR": "weights",
    }.items():
        assert default_of(get_class(target), key) is not inspect.Parameter.empty
    assert default_of(get_class("pmnar.methods.Plain"), "q") is inspect.Parameter.empty
