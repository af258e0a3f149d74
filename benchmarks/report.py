"""Tables and pictures from figures, for this project's own benchmarks and for those against peers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from pathlib import Path
from statistics import median

Runs = Mapping[str, Sequence[Mapping[str, float]]]
"""For each contestant the figures of its runs; each run has the number of its `round`."""

BUSY = 0.2
"""If more cores than this are in use between rounds, the machine had other work."""
OURS, THEIRS, NEUTRAL = "#c2410c", "#3b6ea5", "#94a3b8"
"""Colours of bars."""


@dataclass(frozen=True)
class Scale:
    """A picture's axis: its marks, and the position of a value between the left end, 0, and the right end, 1."""

    name: str
    marks: Sequence[float]
    place: Callable[[float], float]


def logarithmic(decades: int) -> Scale:
    """From 1 down by this many decades; smaller values are at the left end."""
    marks = tuple(10.0**-power for power in range(decades + 1))
    return Scale("logarithmic", marks, lambda value: 1 + log10(max(value, marks[-1])) / decades)


def linear(last: float, steps: int) -> Scale:
    """From 0 to ``last``; larger values are at the right end."""
    marks = tuple(last * step / steps for step in range(steps + 1))
    return Scale("linear", marks, lambda value: min(value, last) / last)


@dataclass(frozen=True)
class Bar:
    """The median of the values, and a line for their range."""

    title: str
    values: Sequence[float]
    color: str = THEIRS
    bold: bool = False


def paired(
    runs: Runs, above: str, below: str, figure: str, combine: Callable[[float, float], float] = lambda a, b: a / b
) -> list[float]:
    """``above`` ÷ ``below`` in each round in which both ran, in ascending order."""
    base = {run["round"]: run[figure] for run in runs.get(below, ())}
    return sorted(combine(run[figure], base[run["round"]]) for run in runs.get(above, ()) if run["round"] in base)


def spread(values: Sequence[float], text: Callable[[float], str]) -> str:
    """The median, and the range in brackets unless there is only one value; an empty text without values."""
    if not values:
        return ""
    if len(values) == 1:
        return text(values[0])
    return f"{text(median(values))} ({text(min(values))} to {text(max(values))})"


def number(value: float) -> str:
    """Two significant digits; above 0.1 at most two digits after the decimal point."""
    if abs(value) >= 0.1:
        return f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}"
    return f"{value:.2g}"


def short(value: float) -> str:
    """Large numbers in thousands (k) or millions (M)."""
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def one_line(text: str) -> str:
    """The text in one line, for a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")[:400]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of Markdown; all columns but the first ``left`` ones are numbers."""
    marks = ["---" if column < left else "---:" for column in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, marks, *rows)]


def busy_note(cores: float) -> list[str]:
    """A warning, as lines, when the machine had other work."""
    if cores <= BUSY:
        return []
    return [
        f"**The machine was busy with other work ({cores:.1f} cores between rounds):** figures that need CPU time",
        "are worse for that, those of the bare loop least.",
        "",
    ]


def picture(title: str, bars: Sequence[Bar], scale: Scale) -> str:
    """Bars on a scale, as SVG."""
    left, width, step, top = 330, 430, 26, 44
    height = top + step * len(bars) + 16

    def x(value: float) -> float:
        return left + width * scale.place(value)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 80} {height}" role="img"',
        f'  aria-label="{escape(title)}" font-family="sans-serif" font-size="13">',
        f'<rect width="{left + width + 80}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left}" y="16" fill="#333333">{escape(title)}, {scale.name}</text>',
    ]
    for mark in scale.marks:
        parts.append(f'<line x1="{x(mark):.1f}" y1="36" x2="{x(mark):.1f}" y2="{height - 12}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x(mark):.1f}" y="32" fill="#777777" text-anchor="middle">{mark:g}</text>')
    for place, bar in enumerate(bars):
        middle, low, high = median(bar.values), min(bar.values), max(bar.values)
        y = top + step * place
        text = escape(bar.title.replace("`", "").replace("**", ""))
        bold = ' font-weight="bold"' if bar.bold else ""
        parts += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" fill="#222222"{bold}>{text}</text>',
            f'<rect x="{left}" y="{y}" width="{max(x(middle) - left, 1):.1f}" height="18" fill="{bar.color}"/>',
            f'<line x1="{x(low):.1f}" y1="{y + 9}" x2="{x(high):.1f}" y2="{y + 9}" stroke="#111111"/>',
            f'<text x="{max(x(high), x(middle)) + 6:.1f}" y="{y + 14}" fill="#222222">{number(middle)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(folder: Path, markdown: str, svg: str) -> None:
    """RESULTS.md, and the picture beside it."""
    (folder / "RESULTS.md").write_text(markdown)
    (folder / "results.svg").write_text(svg)


def between(text: str, begin: str, end: str, new: str) -> str:
    """``text`` with ``new`` between the lines ``begin`` and ``end``, instead of the lines that are there.

    Raises ``ValueError`` when it does not have these lines in this order.
    """
    before, found, rest = text.partition(f"{begin}\n")
    _, ended, after = rest.partition(f"\n{end}\n")
    if not found or not ended:
        raise ValueError(f"no line {begin!r} with a line {end!r} behind it")
    return f"{before}{begin}\n\n{new}\n\n{end}\n{after}"
