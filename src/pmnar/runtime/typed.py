"""Commands that people can paste: quoted for the shell and, inside, for Hydra."""

import re
import shlex
import sys
from pathlib import Path

BARE = re.compile(r"(?! )(?=[^/]*/)[A-Za-z0-9_.+/ -]*(?<! )", re.ASCII)
"""Values that Hydra takes as text without quotes; one without a slash may be a number, or null."""


def hydra_quoted(value: str) -> str:
    """`value` as Hydra's grammar takes it for just this text.

    See https://hydra.cc/docs/advanced/override_grammar/basic/#quoted-values: within quotes a
    backslash counts only before a quote, and an interpolation is still one unless it is escaped.
    """
    if BARE.fullmatch(value):
        return value
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    text = re.sub(r"(\\+)$", r"\1\1", text)
    return f"'{text}'"


def assignment(key: str, value: str | Path) -> str:
    """`key=value` as it is typed into a shell."""
    return f"{key}={_shell_quoted(hydra_quoted(str(value)))}"


def _shell_quoted(text: str) -> str:
    """In double quotes where that is easier to read: Hydra's own are single ones."""
    if "'" in text and not re.search(r'["\\$`!\n]', text):
        return f'"{text}"'
    return shlex.quote(text)


def command(task: str, **values: str | Path) -> str:
    """What to type for `task`, train or evaluate, in the way in which this process was started."""
    installed = Path(sys.argv[0]).name in ("pmnar-train", "pmnar-evaluate")
    start = f"pmnar-{task}" if installed else f"python -m src.{task}"
    return " ".join([start, *(assignment(key, value) for key, value in values.items())])
