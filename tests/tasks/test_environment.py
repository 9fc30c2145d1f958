"""A whole run as a user without an entry, a home, or a working directory to write to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UID = 12345
RUN = """
import os, pwd, runpy, sys
assert os.getuid() != 0
try:
    pwd.getpwuid(os.getuid())
except KeyError:
    runpy.run_module("src.train", run_name="__main__")
else:
    sys.exit("there is an entry")
"""
SHORT = ("dataset.recipe.max_epochs=1", "method=ce", "dataset.train_subset=64")


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="only root can be another user"
)
def test_a_run_without_entry_home_and_folder(tmp_path: Path) -> None:
    runs, nowhere = tmp_path / "runs", tmp_path / "nowhere"
    runs.mkdir()
    os.chown(runs, UID, UID)
    nowhere.mkdir(mode=0o555)
    reads = "-all,+dac_read_search"  # whose Python may be root's
    privileges = [f"--{kind}-caps={reads}" for kind in ("inh", "ambient")]
    user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", *privileges]
    done = subprocess.run(
        [*user, sys.executable, "-c", RUN, *SHORT, f"runs_dir={runs}"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(nowhere),
        },
        cwd=nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(runs.rglob("report.html"))) == 1
    assert not list(nowhere.iterdir())
