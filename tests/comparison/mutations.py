"""Messages in which one field has a value that it should not have."""

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

ABSENT = object()

VALUES: Sequence[Any] = (
    *(
        ABSENT,
        ABSENT,
        None,
        True,
        False,
        0,
        1,
        -1,
        2.5,
        1e21,
        2**60,
        "",
        "x",
        "7",
        " 8 ",
        "0x9",
        "op",
        "noop",
        "join",
    ),
    *([], [1], ["9"], [[10]], [1, 2], {}, {"a": 1}, {"length": 2}, "\ud800", "A", -0.0, 1e-7),
)

OF_A_CLIENT = ("clientSequenceNumber", "referenceSequenceNumber", "type", "contents", "metadata", "traces", "data")
"""Fields whose values a client chooses, in its ``operation``."""


def mutated(rng: random.Random, entry: dict[str, Any]) -> dict[str, Any]:
    """A copy with one wrong value: of a client's message in its operation, of the service's also in its data."""
    entry = copy.deepcopy(entry)
    operation = entry["operation"]
    if entry["clientId"]:
        _put(operation, rng.choice((*OF_A_CLIENT, "serverMetadata", "compression", "another")), rng.choice(VALUES))
        return entry
    if "data" in operation and rng.random() < 0.8:
        operation["data"] = _data(rng, operation["data"])
    else:
        _put(operation, rng.choice((*OF_A_CLIENT, "serverMetadata")), rng.choice(VALUES))
    return entry


def _put(where: Any, name: Any, value: Any) -> None:
    if value is not ABSENT:
        where[name] = value
    elif isinstance(where, dict):
        where.pop(name, None)
    else:
        del where[name]


def _data(rng: random.Random, text: str) -> Any:
    """Replace a value in the JSON, or the text itself."""
    try:
        holder = [json.loads(text)]
    except (TypeError, ValueError):  # a mutation before this one made it invalid
        return text
    where: Any = holder
    name: Any = 0
    while isinstance(where[name], (dict, list)) and where[name] and rng.random() < 0.8:
        where = where[name]
        name = rng.choice([*where]) if isinstance(where, dict) else rng.randrange(len(where))
    value = rng.choice(VALUES)
    if where is holder:
        return rng.choice(("{", "", "null", "5", '"x"', "[]", "{}", 5, None))
    _put(where, name, value)
    return json.dumps(holder[0])
