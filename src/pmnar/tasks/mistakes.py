"""What was wrong with a command, on one line, and what was perhaps meant."""

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pmnar.errors import TOLD, NonFiniteLossError, RankLostError, WriteError
from pmnar.runtime.run_folder import is_first_process
from pmnar.runtime.typed import assignment
from pmnar.tasks.command import config_dir
from pmnar.tasks.defaults import composed

PLUGINS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/sweeper/optuna": "optuna",
}
"""Choices that other packages bring, and the extra that installs them."""


@contextmanager
def one_line_errors(config_name: str) -> Iterator[None]:
    """Says what was wrong with the input in a line.

    Around a single run inside the job, too: Hydra would print lines of its own.

    Raises:
        SystemExit: with 2 for a bad input, 1 for what else can be told in a line.
    """
    try:
        yield
    except Exception as error:
        line = line_of(error, config_name)
        if line is None:
            raise
        # All ranks know of a loss that is not finite, and one says it.
        if is_first_process() or not isinstance(error, NonFiniteLossError):
            print(f"error: {line}", file=sys.stderr)
        sys.exit(1 if isinstance(error, WriteError | RankLostError) else 2)


def line_of(error: Exception, config_name: str) -> str | None:
    """What went wrong, on one line; None for an error that was not foreseen."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain(error, config_name)
    if isinstance(error, TOLD):
        return str(error)
    if str(error) == "No trials are completed yet.":
        return "no trial of the search came to its end"
    if str(error).startswith('Could not detect "srun"'):
        return (
            "launcher=submitit_slurm needs SLURM's sbatch and srun, which are not on this machine"
        )
    if type(error).__name__ == "TerminatedWorkerError":  # joblib's
        return "the process of a job was killed, which ends all of launcher=joblib's"
    if type(error).__module__.startswith("submitit."):
        return str(error).strip().splitlines()[-1]
    return None


def first_line(error: BaseException) -> str:
    """What an error of another library says first, or else what kind it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        return " ".join(lines[:2])
    return lines[0] if lines else type(error).__name__


def explain(error: Exception, config_name: str) -> str:
    """What is wrong with an override, and the nearest names that exist, on one line."""
    if isinstance(error, MissingConfigException) and error.options:
        wanted = str(error.missing_cfg_file)
        if wanted in PLUGINS:
            choice = wanted.removeprefix("hydra/").replace("/", "=")
            return f"{choice} needs a plugin: pip install 'pmnar[{PLUGINS[wanted]}]'"
        group, _, name = wanted.rpartition("/")
        known = [option for option in error.options if not option.startswith("_")]
        return f"{group}={name} does not exist; {nearest(name, known)}"
    if (hint := how_to_quote(error)) is not None:
        return hint
    cause = error.__cause__ or error
    if isinstance(error, InstantiationException):
        return first_line(cause)
    key = getattr(cause, "full_key", None) or _quoted(str(error))
    message = first_line(error).rstrip(".")
    if not key:
        return message
    return f"{message}; {nearest(key, known_keys(config_name))}"


def how_to_quote(error: Exception) -> str | None:
    """For a value that Hydra's grammar cannot take, or takes for several: how it is typed as text.

    None for any other error.
    """
    message, several = first_line(error), "Ambiguous value for argument '"
    if isinstance(error, OverrideParseException):
        text = error.override
    elif message.startswith(several):
        text = message.removeprefix(several).removesuffix("'")
    else:
        return None
    key, equals, value = str(text).partition("=")
    if not equals:
        return None
    typed = assignment(key, value.strip("'\""))
    return f"{text} cannot be read as key=value; a path or other text is quoted twice: {typed}"


def _quoted(message: str) -> str:
    parts = message.split("'")
    return parts[1] if len(parts) > 1 else ""


def nearest(name: str, options: Iterable[str]) -> str:
    """`did you mean …?`, or all options where they are few."""
    options = sorted(options)
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    # A key is often right but for its group.
    last = name.rsplit(".", 1)[-1]
    close += [key for key in options if key.rsplit(".", 1)[-1] == last and key not in close]
    if close:
        return f"did you mean {', '.join(close[:4])}?"
    return f"there are {', '.join(options)}" if len(options) <= 20 else "see --help"


def known_keys(config_name: str) -> list[str]:
    """Every key, dotted, of the configuration that the typed choices give, and the groups.

    Of the default one where those are no choices, or are several.
    """
    try:
        cfg = composed(config_name, typed_choices())
    except (HydraException, OmegaConfBaseException):
        cfg = composed(config_name, [])
    return dotted_keys(OmegaConf.to_container(cfg, resolve=False))


def typed_choices() -> list[str]:
    """What was typed of groups, such as `method=ce`: their keys differ from choice to choice."""
    typed = (text.partition("=")[0] for text in sys.argv[1:])
    groups = {key for key in typed if key.isidentifier() and (config_dir() / key).is_dir()}
    return [text for text in sys.argv[1:] if text.partition("=")[0] in groups]


def dotted_keys(node: Any, prefix: str = "") -> list[str]:
    """Every key of nested dictionaries, such as `noise.rate`, and the groups."""
    if not isinstance(node, dict):
        return []
    below = [key for name in node for key in dotted_keys(node[name], f"{prefix}{name}.")]
    return [f"{prefix}{name}" for name in node] + below
