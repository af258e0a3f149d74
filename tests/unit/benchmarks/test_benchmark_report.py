"""What tables and pictures of all benchmarks are made of."""

from operator import sub
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, strategies as st

from benchmarks.report import (
    BUSY,
    Bar,
    between,
    busy_note,
    linear,
    logarithmic,
    number,
    one_line,
    paired,
    picture,
    short,
    spread,
    table,
    write,
)

SVG = "{http://www.w3.org/2000/svg}"


def runs(*rates: tuple[int, float]) -> list[dict[str, float]]:
    return [{"round": number, "rate": rate} for number, rate in rates]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (746.4, "746"),
        (12345.0, "12,345"),
        (1.0, "1.00"),
        (0.5, "0.50"),
        (0.1, "0.10"),
        (0.0123, "0.012"),
        (-0.333, "-0.33"),
        (0.0, "0"),
    ],
)
def test_a_ratio_has_two_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(2_345_678, "2.35 M"), (1_000_000, "1.00 M"), (52_345, "52 k"), (9_999, "9,999"), (100, "100"), (0.47, "0.47")],
)
def test_large_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_spread_is_the_median_and_the_range_whatever_the_order() -> None:
    assert spread([3.0, 1.0, 2.0], number) == "2.00 (1.00 to 3.00)"
    assert spread([1.0, 2.0], number) == "1.50 (1.00 to 2.00)"
    assert spread([1.0], number) == "1.00"
    assert spread([], number) == ""


def test_ratios_are_of_the_same_round() -> None:
    both = {"path": runs((0, 10.0), (1, 40.0)), "bare": runs((0, 20.0), (1, 40.0))}
    assert paired(both, "path", "bare", "rate") == [0.5, 1.0]
    assert paired(both, "path", "bare", "rate", sub) == [-10.0, 0.0]


def test_a_round_in_which_one_failed_counts_for_neither() -> None:
    both = {"path": runs((1, 30.0), (2, 10.0)), "bare": runs((0, 5.0), (2, 40.0))}
    assert paired(both, "path", "bare", "rate") == [0.25]
    assert paired(both, "path", "nobody", "rate") == []
    assert paired(both, "nobody", "bare", "rate") == []


@given(st.lists(st.tuples(st.floats(1, 1e7), st.floats(1, 1e7)), min_size=1, max_size=9))
def test_ratios_ascend_and_are_as_many_as_rounds(pairs: list[tuple[float, float]]) -> None:
    both = {
        "path": runs(*enumerate(path for path, _ in pairs)),
        "bare": runs(*enumerate(bare for _, bare in pairs)),
    }
    found = paired(both, "path", "bare", "rate")
    assert found == sorted(path / bare for path, bare in pairs)


def test_a_table_aligns_numbers_to_the_right() -> None:
    assert table(["", "a", "b"], [["x", "1", "2"]]) == ["|  | a | b |", "| --- | ---: | ---: |", "| x | 1 | 2 |"]
    assert table(["", "why"], [], left=2) == ["|  | why |", "| --- | --- |"]


def test_a_cell_is_one_line_without_bars() -> None:
    assert one_line("a\n  b | c") == "a b \\| c"
    assert len(one_line("x" * 1000)) == 400


def test_only_a_busy_machine_is_warned_of() -> None:
    assert busy_note(BUSY) == []
    assert "1.5 cores" in busy_note(1.5)[0]


def test_scales_go_from_end_to_end() -> None:
    down = logarithmic(3)
    assert [round(down.place(value), 6) for value in (1, 0.1, 0.001, 0.00001)] == [1, 0.666667, 0, 0]
    assert down.marks == pytest.approx([1, 0.1, 0.01, 0.001])
    up = linear(1.25, 5)
    assert [up.place(value) for value in (0, 0.625, 1.25, 99)] == [0, 0.5, 1, 1]
    assert up.marks == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1.25])


def test_a_picture_has_a_bar_of_the_median_for_each_and_is_xml() -> None:
    bars = [Bar("**ours** & `theirs` <1>", [0.25, 1.0, 0.5], bold=True), Bar("other", [1.0])]
    root = ElementTree.fromstring(picture("a ÷ b", bars, linear(1, 4)))
    background, *boxes = root.findall(f"{SVG}rect")
    widths = [float(box.get("width", "")) for box in boxes]
    assert widths[0] == pytest.approx(widths[1] / 2, abs=0.1)
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert "ours & theirs <1>" in texts
    assert "0.50" in texts
    assert float(background.get("height", "")) > 2 * 26


def test_both_files_are_written(tmp_path: Path) -> None:
    write(tmp_path, "text", "<svg/>")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "RESULTS.md": "text",
        "results.svg": "<svg/>",
    }


def test_between_two_lines_all_is_new() -> None:
    assert between("a\nB\nold\nolder\nE\nz\n", "B", "E", "new") == "a\nB\n\nnew\n\nE\nz\n"


@pytest.mark.parametrize("text", ["a\nE\n", "B\na\n", "E\nB\na\n"])
def test_without_both_lines_in_order_nothing_is_replaced(text: str) -> None:
    with pytest.raises(ValueError, match="no line 'B' with a line 'E' behind it"):
        between(text, "B", "E", "new")
