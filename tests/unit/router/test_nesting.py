"""Records that Python's JSON parser gives up at: their documents hear of them all the same."""

import json

import pytest

from sdk_python.document_router import DocumentKey, DocumentMessage
from sdk_python.document_router._keys import by_boxcar
from sdk_python.document_router.nesting import is_flat, prune

from .world import World, message, settle

WHOLE = '{"type":"boxcar","contents":[HERE],"tenantId":"t","documentId":"A"}'

DEEP = 200_000
"""Levels. The parser of Python 3.11 gives up at some hundred, that of 3.12 and later ones at some thousand."""

HARD = [
    "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP + "1" + "}" * DEEP,
    "9" * 5_000,
    "[" * DEEP + '"]"' + "]" * DEEP,
]


def routed(text: str) -> DocumentMessage:
    """As the router has it."""
    return DocumentMessage(*message(0, text))


@pytest.mark.parametrize("contents", HARD)
def test_the_document_of_deeply_nested_json_is_found(contents: str) -> None:
    got = routed(WHOLE.replace("HERE", contents))
    assert by_boxcar(got) == DocumentKey("t", "A")
    assert got.boxcar is None
    alone = routed('{"documentId":"A","tenantId":"t","more":HERE}'.replace("HERE", contents))
    assert by_boxcar(alone) == DocumentKey("t", "A")


@pytest.mark.parametrize(
    "text", ["[" * DEEP, "[" * DEEP + "]" * DEEP, WHOLE.replace("HERE", "[" * DEEP), "9" * 5_000]
)
def test_broken_json_has_no_document(text: str) -> None:
    assert by_boxcar(routed(text)) is None


async def test_a_lambda_gets_a_message_that_is_nested_too_deeply() -> None:
    world = World()
    world.put(0, "A", WHOLE.replace("HERE", HARD[0]))
    await settle()
    assert "A.handler(0)" in world.take()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "[]"),
        ("[[1],{}]", "[0,0]"),
        ('{"a":[[2]],"b":"[{"}', '{"a":0,"b":"[{"}'),
        ('["\\"[",[1]]', '["\\"[",0]'),
        ('["\\\\",[1]]', '["\\\\",0]'),
        ("1", "1"),
        (' [ [ "]" ] , 1 ] ', " [ 0 , 1 ] "),
    ],
)
def test_prune_replaces_what_is_nested_too_deeply(text: str, expected: str) -> None:
    assert prune(text, 1, "0") == expected
    assert prune(text, 99, "0") == text
    json.loads(expected)


@pytest.mark.parametrize("text", ["[", "[[]", "]", '{"a":[}', '["]"'])
def test_brackets_that_do_not_match_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"match|delimiter|value|Extra"):
        json.loads(prune(text, 1, "0"))


def test_is_flat_counts_brackets() -> None:
    assert is_flat("[[{}]]", 3)
    assert not is_flat("[[{}]]", 2)
