"""The report: well-formed, escaped, self-contained, and silent about what is unknown."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pmnar.errors import InputError
from pmnar.figures import write_figures, write_report
from pmnar.figures.page import number, percent, probability, text_of

MakeRun = Callable[..., Path]
VOID = {"meta", "img"}
PLAIN = {"html", "head", "body", "title", "style", "h1", "h2", "p", "div", "figure", "pre"}
TAGS = PLAIN | {"figcaption", "table", "thead", "tbody", "tr", "th", "td", "code"} | VOID


class Page(HTMLParser):
    """Checks that tags nest, and collects them, their links and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_a_full_report_is_well_formed_and_escaped(make_run: MakeRun) -> None:
    run = make_run()
    write_figures(run)
    page = report_of(run)
    assert page.tags <= TAGS
    for text in ("toy · sym50 · pmnar<script>", "<b>cat</b>", "$\\frac{dog}$ & co", "<i>/"):
        assert text in page.text
    for text in ("75.00", "74.12", "nominal rate 50.00 %", "actual rate 49.70 %", "torch 2.15.0"):
        assert text in page.text
    assert "python -m src.train resume='runs/my toy'" in page.text
    assert "python -m src.evaluate run='runs/my toy'" in page.text


def test_it_loads_nothing_from_elsewhere(make_run: MakeRun) -> None:
    run = make_run()
    write_figures(run)
    page = report_of(run)
    assert len(page.links) == 4
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    html = (run / "report.html").read_text(encoding="utf-8")
    assert re.search(r"https?:|//cdn|@import|url\(|<script", html) is None


def test_unknown_values_are_dashes_and_empty_sections_left_out(make_run: MakeRun) -> None:
    run = make_run(full=False)
    page = report_of(run)
    assert "epochs–" in re.sub(r"\s", "", page.text)
    assert "Figures" not in page.text
    assert "second" not in page.text
    assert "path" not in page.text
    assert str(run) in page.text
    assert "nan" not in page.text.lower()


def test_at_most_fifty_samples_are_listed(make_run: MakeRun) -> None:
    html = write_report(make_run(size=400)).read_text(encoding="utf-8")
    assert html.count("<td>&lt;i&gt;/") == 50


def test_a_run_without_a_summary_still_has_its_samples(make_run: MakeRun) -> None:
    run = make_run()
    (run / "summary.json").unlink()
    text = report_of(run).text
    assert run.name in text
    assert "Samples to look at" in text
    assert "What was run" not in text


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run's folder"):
        write_report(tmp_path)


def test_values_as_text() -> None:
    assert [number(value, 2) for value in (1, 0.126)] == ["1.00", "0.13"]
    unknown: list[object] = [None, float("nan"), "x", True]
    assert {number(value, 2) for value in unknown} == {"–"}
    assert [percent(v) for v in (0.5, None)] == ["50.00", "–"]
    assert [probability(v) for v in (0.0, 1e-9, 0.25)] == ["<0.0001", "<0.0001", "0.2500"]
    assert (
        text_of({"torch": "2.15", "gpus": [0, 1], "name": None}) == "torch 2.15, gpus 0, 1, name –"
    )
    empty: list[object] = [None, "", {}, 0]
    assert [text_of(value) for value in empty] == ["–", "–", "–", "0"]


def test_counts_are_those_of_the_summary(make_run: MakeRun) -> None:
    run = make_run()
    path = run / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"suspects": 727, "unsure": 11}))
    page = report_of(run)
    assert "actual noisesuspectsunsure" in page.text
    cells = [f'<td class="number">{count}</td>' for count in (727, 11)]
    assert "".join(cells) in (run / "report.html").read_text(encoding="utf-8")


def test_what_is_wrong_with_a_result_comes_first(make_run: MakeRun) -> None:
    run = make_run()
    assert "Not to be acted on" not in report_of(run).text
    path = run / "summary.json"
    lost = {"lost_classes": ["<b>cat</b>", "emu"], "try": "more epochs"}
    worse = {"wrong_labels": {"given": 502, "as_suggested": 731}}
    path.write_text(json.dumps(json.loads(path.read_text()) | lost | worse))
    text = report_of(run).text
    assert ": <b>cat</b>, emu." in text
    assert "502 of them are wrong as they are given, and 731 would be" in text
    assert "What may help: more epochs." in text
    assert text.index("Not to be acted on") < text.index("What was run")


def test_labels_to_which_nothing_was_added_are_not_called_free_of_noise(make_run: MakeRun) -> None:
    run = make_run()
    summary = json.loads((run / "summary.json").read_text())
    summary["noise"] = {"name": "clean", "nominal_rate": 0.0}
    (run / "summary.json").write_text(json.dumps(summary))
    text = report_of(run).text
    assert "none added: the labels as they are" in text
    assert "nominal rate" not in text
