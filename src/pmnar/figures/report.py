"""The report of a run: one HTML file that needs nothing beside it."""

from functools import partial
from pathlib import Path

from pmnar.detection import most_suspicious, read_samples
from pmnar.errors import InputError
from pmnar.figures.lettering import lettering
from pmnar.figures.matrix import matrix_names
from pmnar.figures.page import (
    UNKNOWN,
    code,
    heading,
    number,
    page,
    pairs,
    paragraph,
    percent,
    picture,
    probability,
    table,
    text_of,
)
from pmnar.figures.tables import Summary, events_of, lookup, read_summary
from pmnar.files import write_text
from pmnar.health import is_healthy, makes_labels_worse
from pmnar.names import HELD_OUT
from pmnar.runtime.typed import command

SUSPECTS = 50
NETWORKS = ("first", "second", "ensemble")
CAPTIONS = {
    "accuracy": (
        "Accuracy over epochs",
        "Accuracy after each epoch: a curve that rises and then falls shows a "
        "network that has begun to memorise wrong labels.",
    ),
    "classes": (
        "Every class over epochs",
        "A class whose weight and recall fall together is being starved. Dashed ones are hardly "
        "predicted any more; where there is none, the one with the lowest recall is named.",
    ),
    "confidence": (
        "Confidence in the given label",
        "How sure the first network is of the label each training sample was given: wrong labels "
        "should pile up left of the dashed line, right ones near 1.",
    ),
    "detection": (
        "Detection over the threshold",
        "How well a threshold on that confidence finds wrong labels: the flatter F1 is around the "
        "dashed line, the less the choice of threshold matters.",
    ),
    "weights": (
        "Mean weight per given class",
        "How much the samples of each given class count in training: a class far below the others "
        "is starved, and the network may stop predicting it.",
    ),
    "suspicious": (
        "The most suspicious samples",
        "The suspects whose given label (grey) the network believes least, with the label it "
        "suggests after the arrow; where the true label is known and differs from the "
        "suggestion, it stands below.",
    ),
}
ABOUT_MATRIX = (
    "How likely a sample of each class is given each label, as the method believes it: off the "
    "diagonal are the classes that are taken for one another."
)
ABOUT_HELD_OUT = (
    "There is no test set. Percent of the samples that were held out of training, against their "
    "given labels, which are as noisy as the others."
)
ABOUT_ACCURACY = (
    "Percent of the test set, against its own labels: where the training labels come from an "
    "untrusted folder, so do these. The best epoch is chosen on that same test set: compare it "
    "with other best epochs only."
)
ABOUT_LOST = (
    "Lost classes, which the first network predicts for under a tenth of as many training samples "
    "as are given them (classes.csv follows every class):"
)
ABOUT_LITTLE = (
    "The network has learnt too little to judge labels: its likeliest class has a probability of "
    "{} on average."
)
ABOUT_WORSE = (
    "The suggestions would make the labels worse: {} of them are wrong as they are given, and "
    "{} would be if each suggestion were taken."
)
ABOUT_DETECTION = (
    "A training sample is called wrong when the confidence in its given label is below the "
    "threshold: the measures and the estimated noise (noise rates are in percent) are of these; "
    "positive means mislabelled. Each of them is a suspect, if the network suggests another class, "
    "or else it is unsure of all classes."
)
ABOUT_NUMBERS = (
    "No installed font has all letters of these names; the figures show the classes' numbers."
)
ABOUT_SAMPLES = "All samples are in samples.parquet."
DETECTION = (
    ("threshold", "threshold", text_of),
    ("precision", "precision", partial(number, digits=3)),
    ("recall", "recall", partial(number, digits=3)),
    ("f1", "F1", partial(number, digits=3)),
    ("auroc", "AUROC", partial(number, digits=3)),
    ("estimated_noise_rate", "estimated noise", percent),
    ("actual_noise_rate", "actual noise", percent),
)
COUNTS = ("suspects", "unsure")
SUSPECT = (
    ("index", "index", text_of),
    ("given_name", "given", text_of),
    ("confidence", "confidence", probability),
    ("suggested_name", "suggested", text_of),
    ("suggested_confidence", "its confidence", probability),
    ("path", "path", text_of),
)
NUMERIC = ("index", "confidence", "its confidence")


def write_report(run: Path) -> Path:
    """Write `run/report.html` from the run's tables and the figures in `run/figures`.

    Values that are unknown are shown as "–", sections without data are left out.

    Returns:
        The file written.

    Raises:
        InputError: neither `summary.json` nor `samples.parquet` is there, or one cannot be read.
    """
    summary = read_summary(run / "summary.json")
    if not summary and not (run / "samples.parquet").is_file():
        raise InputError(
            f"{run} holds neither summary.json nor samples.parquet: not a run's folder"
        )
    title = _title(summary) or run.name
    body = [heading(title, 1), paragraph(f"Run {_folder(run, summary)}", soft=True)]
    body += _health(summary) + _what(summary) + _accuracy(summary) + _detection(summary)
    body += _figures(run, summary) + _suspects(run) + _next(run, summary)
    path = run / "report.html"
    write_text(path, page(title, body))
    return path


def _title(summary: Summary) -> str:
    parts = (lookup(summary, "dataset"), lookup(summary, "noise", "name"))
    return " · ".join(text_of(part) for part in (*parts, lookup(summary, "method")) if part)


def _folder(run: Path, summary: Summary) -> str:
    return str(lookup(summary, "run") or run)


def _health(summary: Summary) -> list[str]:
    """What is wrong with the result, before anything else of it."""
    if is_healthy(summary):
        return []
    lost = lookup(summary, "lost_classes")
    said = [f"{ABOUT_LOST} {text_of(lost)}."] if lost else []
    if (little := lookup(summary, "learnt_little")) is not None:
        said.append(ABOUT_LITTLE.format(number(little, 2)))
    if makes_labels_worse(summary):
        keys = ("given", "as_suggested")
        counts = [text_of(lookup(summary, "wrong_labels", key)) for key in keys]
        said.append(ABOUT_WORSE.format(*counts))
    if remedy := lookup(summary, "try"):
        said.append(f"What may help: {text_of(remedy)}.")
    return [heading("Not to be acted on"), *map(paragraph, said)]


def _what(summary: Summary) -> list[str]:
    if not summary:
        return []
    names = lookup(summary, "class_names")
    seconds = [
        f"{number(value, 1)} s {label}"
        for key, label in (
            ("total", "in all"),
            ("per_epoch", "an epoch"),
            ("reweighting", "reweighting"),
        )
        if (value := lookup(summary, "seconds", key)) is not None
    ]
    rows = [
        ("data set", text_of(lookup(summary, "dataset"))),
        ("classes", str(len(names)) if isinstance(names, list) else UNKNOWN),
        ("label noise", _noise(summary)),
        ("method", text_of(lookup(summary, "method"))),
        ("epochs", text_of(lookup(summary, "epochs"))),
        *((name, f"after epoch {epoch}") for name, epoch in events_of(summary).items() if epoch),
        ("seed", text_of(lookup(summary, "seed"))),
        ("time", ", ".join(seconds) or UNKNOWN),
        ("versions", text_of(lookup(summary, "versions"))),
        ("hardware", text_of(lookup(summary, "hardware"))),
    ]
    return [heading("What was run"), pairs(rows)]


def _noise(summary: Summary) -> str:
    if lookup(summary, "noise", "name") == "clean":
        return "none added: the labels as they are"
    parts = [text_of(lookup(summary, "noise", "name"))]
    for key, label in (("nominal_rate", "nominal"), ("actual_rate", "actual")):
        rate = lookup(summary, "noise", key)
        parts += [] if rate is None else [f"{label} rate {percent(rate)} %"]
    seed = lookup(summary, "noise", "seed")
    return ", ".join(parts if seed is None else [*parts, f"seed {seed}"])


def _accuracy(summary: Summary) -> list[str]:
    held_out = f"accuracy_{HELD_OUT}"
    split = "accuracy" if lookup(summary, "accuracy") else held_out
    kept = [name for name in NETWORKS if lookup(summary, split, name)]
    if not kept:
        return []
    columns = ("network", "best", "last", "mean of last 10")
    keys = ("best", "last", "mean_last_10")
    rows = [[n, *(percent(lookup(summary, split, n, k)) for k in keys)] for n in kept]
    shown = table(columns, rows, numeric=columns[1:])
    about = ABOUT_ACCURACY if split == "accuracy" else ABOUT_HELD_OUT
    return [heading("Accuracy"), shown, paragraph(about, soft=True)]


def _detection(summary: Summary) -> list[str]:
    if not lookup(summary, "detection"):
        return []
    cells = [show(lookup(summary, "detection", key)) for key, _, show in DETECTION]
    cells += [text_of(lookup(summary, key)) for key in COUNTS]
    columns = [*(label for _, label, _ in DETECTION), *COUNTS]
    shown = table(columns, [cells], numeric=columns)
    return [heading("Wrong labels found"), shown, paragraph(ABOUT_DETECTION, soft=True)]


def _figures(run: Path, summary: Summary) -> list[str]:
    named = {name: (f"Matrix: {name}", ABOUT_MATRIX) for name in matrix_names(summary)}
    captions = CAPTIONS | named
    files = {name: run / "figures" / f"{name}.png" for name in captions}
    found = [picture(files[n], *captions[n]) for n in captions if files[n].is_file()]
    return [heading("Figures"), *found, *_legend(summary)] if found else []


def _legend(summary: Summary) -> list[str]:
    """The names of classes that the figures have numbers for."""
    names = lookup(summary, "class_names")
    numbered = lettering([str(n) for n in names]).numbered if isinstance(names, list) else {}
    rows = [[f"#{k}", name] for k, name in numbered.items()]
    legend = [paragraph(ABOUT_NUMBERS, soft=True), table(("number", "class"), rows, ())]
    return legend if rows else []


def _suspects(run: Path) -> list[str]:
    if not (run / "samples.parquet").is_file():
        return []
    worst = most_suspicious(read_samples(run / "samples.parquet"), SUSPECTS).to_pylist()
    if not worst:
        return []
    kept = [column for column in SUSPECT if column[0] in worst[0]]
    rows = [[show(row[key]) for key, _, show in kept] for row in worst]
    note = f"The {len(rows)} suspects whose given label the network believes least."
    shown = table([label for _, label, _ in kept], rows, numeric=NUMERIC)
    return [heading("Samples to look at"), paragraph(f"{note} {ABOUT_SAMPLES}", soft=True), shown]


def _next(run: Path, summary: Summary) -> list[str]:
    folder = _folder(run, summary)
    lines = [command("train", resume=folder), command("evaluate", run=folder)]
    return [
        heading("Going on"),
        paragraph("Train further from the last checkpoint, or measure its accuracy again:"),
        code("\n".join(lines)),
    ]
