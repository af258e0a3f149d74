"""Makes RESULTS.md, README.md's table and the picture from a run's figures, and the console's lines for a row."""

from collections.abc import Iterator, Mapping, Sequence
from operator import sub
from statistics import median
from typing import Any

from benchmarks.report import (
    OURS,
    THEIRS,
    Bar,
    Runs,
    busy_note,
    linear,
    number,
    one_line,
    paired,
    picture,
    short,
    spread,
    table,
)

UNITS = {
    "records_per_second": "records/s",
    "operations_per_second": "operations/s",
    "with_opening": "records/s with opening",
    "cpu_seconds_per_million": "CPU s per million",
    "sidecar_mb": "MB of the sidecar",
    "lambda_mb": "MB of the lambda process",
    "most_at_once": "saves at once",
    "p50_ms": "ms p50",
    "p99_ms": "ms p99",
    "p50_s": "s p50",
    "p99_s": "s p99",
    "max_s": "s at most",
    "first_p50_s": "s p50 of the first",
    "first_max_s": "s at most of the first",
}
"""The names of figures in a table; others are called by their own names."""
_PICTURE = "records per second, ÷ bare loop unless said otherwise"
_CPU, _MEMORY, _RECORDS = "cpu_seconds_per_million", "memory_mb", "records"


def markdown(results: Mapping[str, Any]) -> str:
    """The whole of RESULTS.md: the figures of each contestant."""
    rows = results["rows"]
    lines = [
        "# The whole path compared with the bare loop",
        "",
        "Made by `make benchmark`; do not edit. [README.md](README.md) has the comparisons, and how they are made.",
        "",
        *_header(results),
        *table(["row", "who", "result", "CPU s per million", "memory MB", "records"], [*_measured(rows)], left=3),
        "",
        *table(["row", "what is measured"], [[f"`{name}`", one_line(row["what"])] for name, row in rows.items()], 2),
    ]
    return "\n".join(lines) + "\n"


def comparisons(results: Mapping[str, Any]) -> str:
    """The generated part of README.md: the picture and the comparisons."""
    lines = [
        *_header(results),
        f"![{_PICTURE}](results.svg)",
        "",
        *table(["row", "compared", "result", "rounds"], [*_compared(results["rows"])], left=2),
    ]
    return "\n".join(lines)


def svg(results: Mapping[str, Any]) -> str:
    """Bars on a linear scale: the comparisons that are drawn."""
    bars = [
        Bar(comparison["drawn"], found, OURS if comparison["below"] == "bare" else THEIRS)
        for row in results["rows"].values()
        for comparison in row["compare"]
        if comparison["drawn"] and (found := of(comparison, row["runs"]))
    ]
    return picture(_PICTURE, bars, linear(1.25, 5))


def of(comparison: Mapping[str, Any], runs: Runs) -> list[float]:
    """A comparison's ratios, or differences, in ascending order; empty when a contestant lacks the figure."""
    above, below, figure = comparison["above"], comparison["below"], comparison["figure"]
    if not all(figure in run for who in (above, below) for run in runs[who]):
        return []
    if comparison["added"]:
        return paired(runs, above, below, figure, sub)
    return paired(runs, above, below, figure)


def last_round(runs: Runs, shown: Sequence[str]) -> str:
    """For the console: the figures of each contestant, as far as it has them."""
    return "   ".join(
        " ".join([who, *(f"{name} {short(found[-1][name])}" for name in shown if name in found[-1])])
        for who, found in runs.items()
    )


def summary(row: Mapping[str, Any]) -> Iterator[str]:
    """For the console: the row's comparisons, CPU time and memory."""
    for comparison in row["compare"]:
        found = of(comparison, row["runs"])
        if found:
            sign = "-" if comparison["added"] else "/"
            who = f"{comparison['above']} {sign} {comparison['below']}"
            middle, low, high = (f"{value:.2f}" for value in (median(found), found[0], found[-1]))
            yield f"{comparison['figure']}: {who} = {middle} (median; {low} to {high})"
    for figure, unit in ((_CPU, "CPU seconds per million"), (_MEMORY, "MB at the highest")):
        parts = [f"{who} {text}" for who in row["runs"] if (text := _figure(row["runs"][who], figure))]
        if parts:
            yield f"{unit}: {', '.join(parts)}"


def _header(results: Mapping[str, Any]) -> list[str]:
    return [
        f"{results['machine']}.",
        f"{results['date']}. Figures are medians of interleaved rounds, with the range in brackets. A comparison",
        "is the median of the ratios of single rounds. CPU: of all processes, for a million records. Memory: the",
        "highest of each process, added up.",
        "",
        *busy_note(results["busy"]),
    ]


def _compared(rows: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, row in rows.items():
        for comparison in row["compare"]:
            found = of(comparison, row["runs"])
            if found:
                sign = "less" if comparison["added"] else "÷"
                unit = UNITS.get(comparison["figure"], comparison["figure"])
                what = f"{comparison['above']} {sign} {comparison['below']}, {unit}"
                yield [f"`{name}`", what, spread(found, number), str(len(found))]


def _measured(rows: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, row in rows.items():
        for who, found in row["runs"].items():
            shown = [
                f"{spread([run[figure] for run in found], short)} {UNITS.get(figure, figure)}"
                for figure in row["shown"]
                if all(figure in run for run in found)
            ]
            numbers = [_figure(found, figure) for figure in (_CPU, _MEMORY, _RECORDS)]
            yield [f"`{name}`", who, "; ".join(shown), *numbers]


def _figure(found: Sequence[Mapping[str, float]], name: str) -> str:
    """One of the figures that most runs have: the median of CPU time, the highest memory, the number of records."""
    values = [run[name] for run in found if name in run]
    if not values:
        return ""
    return number(median(values)) if name == _CPU else f"{max(values):,.0f}"
