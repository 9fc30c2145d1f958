"""The few pieces of HTML that a report is made of; all text is escaped here."""

import base64
from collections.abc import Sequence
from html import escape
from math import isfinite
from pathlib import Path

UNKNOWN = "–"
STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #5c5c5c; --line: #ddd; --page: #fff;
  --code: #f3f3f3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --soft: #a5a5a5; --line: #3c3c3c;
  --page: #171717; --code: #242424; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 50rem; background: var(--page);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .6rem; }
p { margin: .5rem 0; }
.soft, figcaption { color: var(--soft); font-size: .92rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; overflow-wrap: normal; }
th, td { padding: .3rem 1.4rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; color: var(--soft); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.wide td { white-space: nowrap; }
.pairs td { overflow-wrap: anywhere; }
figure { margin: 1.5rem 0 2rem; }
figure img { display: block; width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { margin-top: .5rem; }
pre { background: var(--code); padding: .8rem 1rem; border-radius: 4px; overflow-x: auto;
  font-size: .88rem; }
"""


def page(title: str, body: Sequence[str]) -> str:
    """A whole document that loads nothing from elsewhere; `body` holds pieces of HTML."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
    ]
    return "\n".join([*head, *body, "</body>", "</html>", ""])


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, soft: bool = False) -> str:
    """A paragraph of plain text; a soft one is small and grey."""
    return f'<p class="soft">{escape(text)}</p>' if soft else f"<p>{escape(text)}</p>"


def code(text: str) -> str:
    """Lines to type."""
    return f"<pre><code>{escape(text)}</code></pre>"


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """A table of names and values."""
    lines = [f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in rows]
    return "\n".join(['<table class="pairs"><tbody>', *lines, "</tbody></table>"])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str]) -> str:
    """A table with a row of column names; those in `numeric` are set to the right."""
    kinds = [' class="number"' if name in numeric else "" for name in columns]
    named = list(zip(kinds, columns, strict=True))
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for kind, name in named)
    lines = [
        "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        for row in rows
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def picture(path: Path, alt: str, caption: str) -> str:
    """A PNG inside the page, with a caption."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}\n<figcaption>{escape(caption)}</figcaption></figure>"


def number(value: object, digits: int) -> str:
    """The number with so many decimals; "–" for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return UNKNOWN
    return f"{value:.{digits}f}"


def probability(value: object) -> str:
    """Four decimals; "<0.0001" for what they cannot show."""
    return "<0.0001" if isinstance(value, float) and 0 <= value < 5e-5 else number(value, 4)


def percent(rate: object) -> str:
    """The rate in percent, with two decimals; "–" for what is no finite number."""
    return number(100 * rate if isinstance(rate, int | float) else None, 2)


def text_of(value: object) -> str:
    """Readable text of what a summary may hold: "–" for nothing, "a 1, b 2" for a mapping."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {text_of(item)}" for key, item in value.items()) or UNKNOWN
    if isinstance(value, list):
        return ", ".join(text_of(item) for item in value) or UNKNOWN
    return UNKNOWN if value is None or value == "" else str(value)
