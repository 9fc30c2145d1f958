"""What `pip install` puts on a machine."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_holds_the_configs_and_runs_outside_the_repository(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True)
    [wheel] = tmp_path.glob("pmnar-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    configs = {f"pmnar/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert configs | {"pmnar/published.yaml"} <= set(names)
    assert not [name for name in names if name.startswith(("src/", "tests/"))]
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    install = ["install", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run([*pip, *install], check=True)
    elsewhere.mkdir()
    command = [sys.executable, str(site / "bin" / "pmnar-train"), "trainer.fast_dev_run=true"]
    done = subprocess.run(
        [*command, "logger=none", "figures=false"],
        cwd=elsewhere,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Test accuracy" in done.stdout
    assert (elsewhere / "runs").is_dir()
