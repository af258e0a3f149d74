"""What a bulk error means: the shapes that a real server does not produce when asked."""

from __future__ import annotations

from typing import Any

import pytest

from examples.scriptorium.operations import Operation
from examples.scriptorium.store import Away, Refused, duplicates_in

OPERATIONS = [Operation(("tenant", "doc"), number, number + 100, b"") for number in range(4)]
CONCERN = {"code": 64, "errmsg": "waiting for replication timed out"}


def details(*errors: tuple[int, int], concerns: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    writes = [{"index": index, "code": code, "errmsg": f"code {code}"} for index, code in errors]
    return {"writeErrors": writes, "writeConcernErrors": [*concerns], "nInserted": 4 - len(errors)}


def test_only_duplicates_are_success() -> None:
    assert duplicates_in(details((1, 11000), (3, 11000)), OPERATIONS) == [OPERATIONS[1], OPERATIONS[3]]


@pytest.mark.parametrize(
    "bulk",
    [
        details((1, 11000), (2, 14031)),
        details((2, 14031), (1, 11000)),
        details((1, 11000), concerns=(CONCERN,)),
        details(concerns=(CONCERN,)),
        details(),
        {},
    ],
    ids=["a full disk too", "a full disk first", "concern too", "concern only", "no reason", "nothing"],
)
def test_anything_else_is_tried_again(bulk: dict[str, Any]) -> None:
    with pytest.raises(Away):
        duplicates_in(bulk, OPERATIONS)


@pytest.mark.parametrize("bulk", [details((2, 121)), details((0, 11000), (1, 14031), (2, 121))])
def test_a_document_that_is_never_stored(bulk: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="operation 2 of tenant/doc cannot be stored: code 121") as caught:
        duplicates_in(bulk, OPERATIONS)
    assert caught.value.offset == 102


@pytest.mark.parametrize("code", [15, 53])
def test_what_no_outage_explains(code: int) -> None:
    """Nested too deeply for the server, or an id that can be none: tried again for ever, it would hold up all."""
    with pytest.raises(Refused):
        duplicates_in(details((2, code)), OPERATIONS)
