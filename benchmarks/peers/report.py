"""The table and the picture, from the figures."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from pathlib import Path
from statistics import median
from typing import Any

BASE = "bare"
OURS = "sidecar"
_BUSY = 0.2
"""Cores in use between rounds, above which the machine had other work."""
_FIRST = 1e-3
"""The left end of the picture's scale, as a ratio to the base."""


def ratios(runs: Mapping[str, Sequence[Mapping[str, float]]], name: str, figure: str) -> list[float]:
    """Peer ÷ base in each round in which both ran, in ascending order."""
    base = {run["round"]: run[figure] for run in runs.get(BASE, ())}
    return sorted(run[figure] / base[run["round"]] for run in runs.get(name, ()) if run["round"] in base)


def markdown(results: Mapping[str, Any]) -> str:
    """The whole of RESULTS.md."""
    runs, peers, failures = results["runs"], results["peers"], results["not_run"]
    lines = [
        "# Against what people would use instead",
        "",
        "Made by `make benchmark-peers`; do not edit. [README.md](README.md) says how it is measured.",
        "",
        f"{results['machine']}. {results['date']}; {results['rounds']} interleaved rounds;",
        f"{results['records']:,} records of 100 bytes with keys in 8 partitions, for slower peers a part of that.",
        "Medians, range in brackets. ÷ bare: by round, to the loop in the first line. CPU: of all of a peer's",
        "processes, for a million records. Memory: the highest of each process, added up.",
        "",
        *_busy(results["busy"]),
        "![records per second, as a ratio to the bare loop](results.svg)",
        "",
        "| | records/s | ÷ bare | CPU s per million | ÷ bare | memory MB | records |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in _ordered(runs):
        rate = [run["records_per_second"] for run in runs[name]]
        cpu = [run["cpu_seconds_per_million"] for run in runs[name]]
        memory = max(run["memory_mb"] for run in runs[name])
        cells = [
            peers[name]["title"],
            f"{_short(median(rate))} ({_short(min(rate))} to {_short(max(rate))})",
            _ratio(ratios(runs, name, "records_per_second")),
            _short(median(cpu)),
            _ratio(ratios(runs, name, "cpu_seconds_per_million")),
            f"{memory:,.0f}",
            f"{runs[name][0]['records']:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| | version | how it is set | checked |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {peers[name]['title']} | {peers[name]['version']} | {peers[name]['how']} | {peers[name]['checked']} |"
        for name in _ordered(runs)
    ]
    if failures:
        lines += ["", "## Not run", "", "| | why |", "| --- | --- |"]
        lines += [f"| {peers[name]['title']} | {_one_line(why)} |" for name, why in failures.items()]
    return "\n".join(lines) + "\n"


def svg(results: Mapping[str, Any]) -> str:
    """Bars on a logarithmic scale: records per second ÷ those of the bare loop."""
    runs, peers = results["runs"], results["peers"]
    names = [name for name in _ordered(runs) if ratios(runs, name, "records_per_second")]
    left, width, step, top = 330, 430, 26, 44
    height = top + step * len(names) + 16
    decades = -log10(_FIRST)

    def x(ratio: float) -> float:
        return left + width * (1 + log10(max(ratio, _FIRST)) / decades)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 80} {height}" role="img"',
        '  aria-label="records per second, as a ratio to the bare loop" font-family="sans-serif" font-size="13">',
        f'<rect width="{left + width + 80}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left}" y="16" fill="#333333">records per second ÷ bare loop, logarithmic</text>',
    ]
    for power in range(int(decades) + 1):
        ratio = 10.0**-power
        parts.append(f'<line x1="{x(ratio):.1f}" y1="36" x2="{x(ratio):.1f}" y2="{height - 12}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x(ratio):.1f}" y="32" fill="#777777" text-anchor="middle">{ratio:g}</text>')
    for number, name in enumerate(names):
        found = ratios(runs, name, "records_per_second")
        middle, y = median(found), top + step * number
        color = "#c2410c" if name == OURS else "#94a3b8" if name == BASE else "#3b6ea5"
        title = escape(peers[name]["title"].replace("`", "").replace("**", ""))
        bold = ' font-weight="bold"' if name == OURS else ""
        parts += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" fill="#222222"{bold}>{title}</text>',
            f'<rect x="{left}" y="{y}" width="{max(x(middle) - left, 1):.1f}" height="18" fill="{color}"/>',
            f'<line x1="{x(found[0]):.1f}" y1="{y + 9}" x2="{x(found[-1]):.1f}" y2="{y + 9}" stroke="#111111"/>',
            f'<text x="{max(x(found[-1]), x(middle)) + 6:.1f}" y="{y + 14}" fill="#222222">{_number(middle)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(results: Mapping[str, Any], folder: Path) -> None:
    """RESULTS.md and results.svg."""
    (folder / "RESULTS.md").write_text(markdown(results))
    (folder / "results.svg").write_text(svg(results))


def _busy(cores: float) -> list[str]:
    if cores <= _BUSY:
        return []
    return [
        f"**The machine was busy with other work ({cores:.1f} cores between rounds):** what needs CPU time",
        "suffers from that, and the bare loop least.",
        "",
    ]


def _ordered(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """The base first, then the fastest."""
    return sorted(
        (name for name, found in runs.items() if found),
        key=lambda name: (name != BASE, -median(run["records_per_second"] for run in runs[name])),
    )


def _ratio(found: Sequence[float]) -> str:
    if not found:
        return ""
    return f"{_number(median(found))} ({_number(found[0])} to {_number(found[-1])})"


def _number(value: float) -> str:
    """Two digits that count, and no more than two behind the point above 0.1."""
    if value >= 0.1:
        return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
    return f"{value:.2g}"


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:400]
