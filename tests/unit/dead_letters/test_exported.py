"""Exported letters can be changed, and are read again."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sidecar.dead_letters.exported import Content, Malformed, content_of, document, encoded, imported
from sidecar.dead_letters.history import history_header, history_of
from sidecar.dead_letters.letter import Headers, Place, letter_of
from sidecar.dead_letters.mended import MendedFile
from sidecar.dead_letters.plain import json_text
from tests.unit.dead_letters.letters import DEAD, NOW, letter, stored

BYTES = st.none() | st.binary() | st.text().map(str.encode)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)


@given(BYTES, BYTES, st.lists(st.tuples(NAMES, BYTES)))
def test_what_is_exported_is_read_as_it_was(key: bytes | None, value: bytes | None, headers: list[Any]) -> None:
    one = stored(3, 9, key=key, value=value, headers=tuple(headers))
    found = letter_of(one)
    assert found is not None
    place, content = imported(json_text(document(found, one, False)))
    assert (place, content) == (Place(DEAD, 0, 3), Content(key, value, tuple(headers)))
    assert content == content_of(one)


def test_an_exported_letter_has_everything() -> None:
    headers: Headers = (
        ("a", None),
        history_header(history_of(()), letter(0, 1, message="first"), edited=False, now=NOW),
    )
    long = "x" * 1000
    one = stored(3, 9, value=b"\xff", headers=headers, message=long)
    found = letter_of(one)
    assert found is not None
    said = document(found, one, True)
    assert (said["letter"], said["replayed"], said["value"]) == (f"{DEAD}/0/3", True, {"base64": "/w=="})
    assert said["failure"]["message"] == long, "the whole message"
    assert said["failure"]["source"] == "orders/0/9"
    assert (said["timestamp"], said["timestamp_type"]) == (1_600_000_000_000, "create_time")
    assert said["stack"] == "line 1\nline 2"
    assert said["headers"] == [["a", None]], "neither the failure's headers nor the history"
    assert [one["message"] for one in said["earlier_failures"]] == ["first"]


def test_null_is_not_empty() -> None:
    assert (encoded(None), encoded(b"")) == (None, "")


GOOD: dict[str, Any] = {"letter": "t/0/1", "key": None, "value": "v", "headers": []}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "nested"),
        ("[]", "expected an object"),
        ('{"letter": "t/0/1", "key": null, "headers": []}', "'value' is missing"),
        (json.dumps(GOOD | {"letter": "7f3a9c21"}), "'letter' must be TOPIC/PARTITION/OFFSET"),
        (json.dumps(GOOD | {"letter": 7}), "'letter' must be"),
        (json.dumps(GOOD | {"value": {"amount": 1}}), "write JSON as a text"),
        (json.dumps(GOOD | {"value": {"base64": "?"}}), "'base64'"),
        (json.dumps(GOOD | {"key": 7}), "'key' must be"),
        (json.dumps(GOOD | {"key": "\ud800"}), "surrogate"),
        (json.dumps(GOOD | {"headers": {"a": "b"}}), "list of pairs"),
        (json.dumps(GOOD | {"headers": ["ab"]}), "pair"),
        (json.dumps(GOOD | {"headers": [["a", "b", "c"]]}), "pair"),
        (json.dumps(GOOD | {"headers": [["a\0", "b"]]}), "NUL"),
        (json.dumps(GOOD | {"headers": [["\ud800", "b"]]}), "surrogate"),
        (json.dumps(GOOD | {"headers": [["a", 1]]}), "the header 'a' must be"),
        (json.dumps(GOOD | {"headers": [["__connect.errors.topic", "b"]]}), "the sidecar's own"),
        (json.dumps(GOOD | {"headers": [["__kafka_sidecar.replay", "b"]]}), "the sidecar's own"),
    ],
)
def test_a_line_that_is_wrong_says_why(line: str, text: str) -> None:
    with pytest.raises(Malformed, match=text):
        imported(line)


def written(folder: Path, *lines: str) -> Path:
    path = folder / "letters.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_a_file_gives_each_letter_s_record(tmp_path: Path) -> None:
    lines = [json.dumps(GOOD | {"letter": f"t/0/{n}", "value": f"größe {n}"}, ensure_ascii=False) for n in range(3)]
    with MendedFile(written(tmp_path, lines[0], "", *lines[1:])) as mended:
        assert mended.places == {Place("t", 0, n) for n in range(3)}
        for n in (2, 0, 1):
            assert mended.content(Place("t", 0, n)) == Content(None, f"größe {n}".encode(), ())
        assert mended.content(Place("t", 0, 3)) is None


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([json.dumps(GOOD), "{"], r"letters.jsonl:2: it is no JSON"),
        ([json.dumps(GOOD), "", json.dumps(GOOD)], r"letters.jsonl:3: the letter t/0/1 is in line 1 too"),
    ],
)
def test_a_mistake_names_the_line(tmp_path: Path, lines: list[str], text: str) -> None:
    with pytest.raises(Malformed, match=text):
        MendedFile(written(tmp_path, *lines))


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "letters.jsonl"
    path.write_bytes(b"\xff\n")
    with pytest.raises(Malformed, match=r":1: it is not UTF-8"):
        MendedFile(path)
