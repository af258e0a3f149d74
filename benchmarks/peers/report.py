"""Makes the table and the picture from the figures."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.report import (
    NEUTRAL,
    OURS as OUR_COLOR,
    THEIRS,
    Bar,
    Runs,
    busy_note,
    logarithmic,
    number,
    one_line,
    paired,
    picture,
    short,
    spread,
    table,
)

BASE = "bare"
OURS = "sidecar"
_PICTURE = "records per second ÷ bare loop"
_RATE, _CPU = "records_per_second", "cpu_seconds_per_million"


def markdown(results: Mapping[str, Any]) -> str:
    """The whole of RESULTS.md."""
    runs, peers, failures = results["runs"], results["peers"], results["not_run"]
    names = _ordered(runs)
    lines = [
        "# Compared with the alternatives",
        "",
        "Made by `make benchmark-peers`; do not edit. [README.md](README.md) says how it is measured.",
        "",
        f"{results['machine']}. {results['date']}; {results['rounds']} interleaved rounds;",
        f"{results['records']:,} records of 100 bytes with keys in 8 partitions, fewer for slower peers.",
        "Figures are medians, with the range in brackets. ÷ bare: the ratio to the loop in the first line, of single",
        "rounds. CPU: of all processes of a peer, for a million records. Memory: the highest of each process,",
        "added up.",
        "",
        *busy_note(results["busy"]),
        f"![{_PICTURE}](results.svg)",
        "",
    ]
    figures = [
        [
            peers[name]["title"],
            peers[name]["promise"],
            spread([run[_RATE] for run in runs[name]], short),
            spread(paired(runs, name, BASE, _RATE), number),
            short(median(run[_CPU] for run in runs[name])),
            spread(paired(runs, name, BASE, _CPU), number),
            f"{max(run['memory_mb'] for run in runs[name]):,.0f}",
            f"{runs[name][0]['records']:,.0f}",
        ]
        for name in names
    ]
    head = ["", "promises", "records/s", "÷ bare", "CPU s per million", "÷ bare", "memory MB", "records"]
    lines += [*table(head, figures, left=2), ""]
    described = [[peers[name][what] for what in ("title", "version", "how", "checked")] for name in names]
    lines += table(["", "version", "how it is set", "checked"], described, left=4)
    if failures:
        why = [[peers[name]["title"], one_line(text)] for name, text in failures.items()]
        lines += ["", "## Not run", "", *table(["", "why"], why, left=2)]
    return "\n".join(lines) + "\n"


def svg(results: Mapping[str, Any]) -> str:
    """Bars on a logarithmic scale: records per second ÷ records per second of the bare loop."""
    colors = {OURS: OUR_COLOR, BASE: NEUTRAL}
    bars = [
        Bar(results["peers"][name]["title"], found, colors.get(name, THEIRS), bold=name == OURS)
        for name in _ordered(results["runs"])
        if (found := paired(results["runs"], name, BASE, _RATE))
    ]
    return picture(_PICTURE, bars, logarithmic(3))


def _ordered(runs: Runs) -> list[str]:
    """The base first, then the fastest."""
    return sorted(
        (name for name, found in runs.items() if found),
        key=lambda name: (name != BASE, -median(run[_RATE] for run in runs[name])),
    )
