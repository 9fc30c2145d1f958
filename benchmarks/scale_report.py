"""What the benchmark of scale says of its figures: lines through them, and the tables."""

from typing import Any

from benchmarks.measure import line, markdown, source

PARTS = ("exchange", "store", "weights", "size of the store", "class means")

Result = dict[str, Any]


def slopes(results: list[Result]) -> list[Result]:
    """For each K and number of ranks: what is constant, and what a sample costs at each size.

    `intercept seconds` is that of the line through the two smallest sizes, and is taken off in
    `seconds a sample`, by size. `ratio` compares the two largest sizes of these. `over the line`
    is the seconds of the largest size over what the line through the two before it says. Both are
    1 where the cost is linear.
    """
    found = []
    for classes, ranks in sorted({(r["classes"], r["ranks"]) for r in results}):
        points = sorted(
            (r["samples"], sum(r["seconds"].values()))
            for r in results
            if (r["classes"], r["ranks"]) == (classes, ranks) and "seconds" in r
        )
        if len(points) < 3:
            continue
        intercept, _ = line_through(*points[:2])
        before, slope = line_through(*points[-3:-1])
        largest, seconds = points[-1]
        each = {str(n): (t - intercept) / n for n, t in points}
        *_, second, first = each.values()
        found.append(
            {
                "classes": classes,
                "ranks": ranks,
                "intercept seconds": intercept,
                "seconds a sample": each,
                "ratio": first / second,
                "over the line": seconds / (before + slope * largest),
            }
        )
    return found


def line_through(left: tuple[int, float], right: tuple[int, float]) -> tuple[float, float]:
    """Intercept and slope of the line through two points."""
    slope = (right[1] - left[1]) / (right[0] - left[0])
    return left[1] - slope * left[0], slope


def tables(report: Result) -> str:
    """The report as Markdown."""
    head = ["samples", "K", "ranks", *(f"{part}, s" for part in PARTS), "held, B a sample"]
    head += ["store", "store, MB", "packed bits, MB", "received, MB", "peak − start, MB"]
    cases = markdown(head, [_cells(result) for result in report["cases"]], "---:")
    sizes = sorted({result["samples"] for result in report["cases"] if "seconds" in result})
    slope_head = ["K", "ranks", "intercept, ms", *(f"{n:,}: ns a sample" for n in sizes)]
    slope_head += ["ratio of the two largest", "largest over the line"]
    lines = [cases, "", line(slope_head), line(["---:"] * len(slope_head))]
    for s in report["slopes"]:
        cells = [f"{s['classes']:,}", str(s["ranks"]), f"{1e3 * s['intercept seconds']:.1f}"]
        each = [s["seconds a sample"].get(str(n)) for n in sizes]
        cells += ["–" if seconds is None else f"{1e9 * seconds:.1f}" for seconds in each]
        lines.append(line([*cells, f"{s['ratio']:.2f}", f"{s['over the line']:.2f}"]))
    return "\n".join([*lines, "", NOTE, "", source(report), ""])


NOTE = (
    "An epoch's seconds, medians over rounds and epochs, of the slower rank, one thread a rank; "
    "bytes of one rank. Held: labels, weights, store, measurement. Received: over the ranks' "
    "exchange, an epoch. Peak − start: the most resident memory, less what the imported libraries "
    "had. Intercept: of the line through the two smallest sizes, taken off before dividing by "
    "samples. Largest over the line: over the line through the two sizes before it."
)


def _cells(result: Result) -> list[str]:
    case = [f"{result[key]:,}" for key in ("samples", "classes", "ranks")]
    packed = _megabytes(result["packed bytes"])
    if "skipped" in result:
        return [*case, *["–"] * 6, f"not run: {result['skipped']}", "–", packed, "–", "–"]
    held = result["bytes"]
    return [
        *case,
        *(f"{result['seconds'][part]:.4f}" for part in PARTS),
        f"{sum(held.values()) / result['samples']:.1f}",
        result["store"],
        _megabytes(held["store"]),
        packed,
        _megabytes(result["received bytes"]),
        _megabytes(result["peak bytes"] - result["peak bytes before"]),
    ]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f}"
