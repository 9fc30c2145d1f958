"""What a run chooses to compute with."""

import ctypes
import platform
import re

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict
from toy import fit, make_data, make_method

from pmnar.errors import InputError
from pmnar.runtime import facts
from pmnar.runtime.process import keep_freed_memory
from pmnar.tasks.command import config_dir
from pmnar.tasks.compute import SayCompute
from pmnar.tasks.devices import choose_precision, parse_compute


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("compute.threads=3", 3),
        ("dataset=cifar10", 4),
        ("dataset=cifar10 method=ce", 8),
        ("dataset=cifar10 trainer.devices=2", None),  # Lightning shares them out
        ("dataset=cifar10 trainer.devices=2 compute.threads=3", 3),
        ("", 1),  # digits' recipe
    ],
)
def test_two_networks_share_the_threads_out(
    monkeypatch: pytest.MonkeyPatch, overrides: str, expected: int | None
) -> None:
    monkeypatch.setattr(facts, "THREADS", 8)
    cfg = composed("trainer.accelerator=cpu", *overrides.split())
    compute = parse_compute(cfg)
    assert compute.threads == expected
    alone = "devices" not in overrides
    assert compute.two_threads == (alone and expected is not None and expected <= 4)


@pytest.mark.parametrize(("accelerator", "expected"), [("cpu", "32-true"), ("cuda", "bf16-mixed")])
def test_auto_precision_goes_by_the_device(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: True)
    assert choose_precision("auto", accelerator, "auto") == expected
    assert choose_precision("32-true", accelerator, "auto") == "32-true"
    if accelerator == "cuda":
        with pytest.raises(InputError, match=r"set trainer\.precision=bf16-mixed or 32-true"):
            choose_precision("auto", accelerator, "ddp_fork")


def test_a_gpu_without_bf16_computes_in_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: False)
    assert choose_precision("auto", "cuda", "auto") == "32-true"


def test_an_older_runs_configuration_computes_as_it_did() -> None:
    cfg = composed()
    with open_dict(cfg):
        del cfg["compute"]
    compute = parse_compute(cfg)
    assert compute.threads in (facts.THREADS // 2, 1)
    assert (compute.compile, compute.channels_last, compute.fused_forward) == ("off", False, False)


@pytest.mark.parametrize("word", ["off", "false"])
def test_off_is_off_however_it_is_read(word: str) -> None:
    assert parse_compute(composed(f"compute.compile={word}")).compile == "off"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone")
def test_freed_memory_is_kept() -> None:
    """A freed block of 16 MiB is not given back to the system: its pages are there at once."""
    import resource

    keep_freed_memory()
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        place = libc.malloc(ctypes.c_size_t(2**24))
        ctypes.memset(place, 1, 2**24)
        libc.free(place)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert faults() < 100  # of 4,096 pages


@pytest.mark.parametrize(
    ("resident", "expected"),
    [
        ("device", r"cpu, 32-true, compile off, images on the device \(0\.0 MB of [\d,]+ free\)"),
        ("host", r"images in memory of the host \(0\.0 MB\)"),
        ("stream", r"images streamed \(0\.0 MB\)"),
    ],
)
def test_what_a_run_computes_with_is_said(
    capsys: pytest.CaptureFixture[str], resident: str, expected: str
) -> None:
    data = make_data(resident=resident)
    fit(make_method(data), data, callbacks=[SayCompute()])
    assert re.search(rf"^compute  .*{expected}$", capsys.readouterr().out, re.MULTILINE)
