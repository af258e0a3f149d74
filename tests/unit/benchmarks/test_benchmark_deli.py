"""The row `sequencing`, and what runs the published deli beside ours."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.peers import environments
from benchmarks.peers.deli import NAME, NAMES, summary
from benchmarks.sequencing import DOCUMENTS, NOW, TENANT, boxcars, check
from examples.deli import Config, Deltas, Document, Record, Sequencer, State, encode_boxcar, parse_boxcar

OPERATIONS = 3
TOTAL = DOCUMENTS * (OPERATIONS + 1)


@pytest.fixture
def values() -> list[bytes]:
    """The records of deltas for a small topic, document after document."""
    sequencers: dict[str, Sequencer] = {}
    made = []
    for offset, (name, value) in enumerate(boxcars(DOCUMENTS, OPERATIONS)):
        if name not in sequencers:
            sequencers[name] = Sequencer(Document(TENANT, name), State(), Config(), NOW)
        outputs = sequencers[name].feed(Record(offset, parse_boxcar(value)), NOW)
        deltas = [output for output in outputs if isinstance(output, Deltas)]
        made += [(name, encode_boxcar(output.messages, TENANT, name)) for output in deltas]
    return [value for _, value in sorted(made, key=lambda one: one[0])]


def test_what_deli_gives_passes(values: list[bytes]) -> None:
    check(values, TOTAL)


def _swap(values: list[bytes]) -> None:
    values[1:3] = values[2], values[1]


def _edit(values: list[bytes], edit: Callable[[dict[str, Any]], None]) -> None:
    boxcar = json.loads(values[2])
    edit(boxcar["contents"][0])
    values[2] = json.dumps(boxcar).encode()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda values: values.pop(), id="the last is missing"),
        pytest.param(lambda values: values.pop(1), id="a gap"),
        pytest.param(lambda values: values.insert(1, values[1]), id="twice"),
        pytest.param(_swap, id="another order"),
        pytest.param(lambda values: values.__delitem__(slice(OPERATIONS + 1)), id="a document is missing"),
        pytest.param(lambda values: _edit(values, lambda one: one.update(type="Nack")), id="refused"),
        pytest.param(
            lambda values: _edit(values, lambda one: one["operation"].update(clientSequenceNumber=1)),
            id="an operation twice, with two numbers",
        ),
        pytest.param(
            lambda values: _edit(values, lambda one: one["operation"].update(contents="y")), id="other contents"
        ),
    ],
)
def test_anything_else_does_not(values: list[bytes], spoil: Callable[[list[bytes]], object]) -> None:
    spoil(values)
    with pytest.raises(RuntimeError):
        check(values, TOTAL)


def test_ratios_are_those_of_the_same_round() -> None:
    ours = [dict.fromkeys(NAMES, value) for value in (10.0, 30.0, 200.0)]
    node = [dict.fromkeys(NAMES, value) for value in (10.0, 10.0, 100.0)]
    lines = summary({"ours-each": ours, "node-seldom": node})
    assert lines[0].startswith("ours-each: operations_per_second 30 (10 to 200)")
    for name in NAMES:
        assert f"ours-each / node-seldom, {name}: 2.00 (1.00 to 3.00)" in lines


def test_the_packages_of_the_published_deli_are_of_one_version() -> None:
    """A second copy of one of them would have settings and a native client of its own."""
    lock = json.loads((environments.HERE / NAME / "package-lock.json").read_text())["packages"]
    name = "node_modules/@fluidframework/server-"
    versions = {path.rpartition("/")[2]: one["version"] for path, one in lock.items() if name in path}
    assert not [path for path in lock if path.rfind("node_modules/@fluidframework/server-") > 0]
    # The only one with the client of the store, and not published as 7.0.1.
    assert versions.pop("server-services") == "7.0.0"
    assert {*versions.values()} == {environments.version(NAME, "@fluidframework/server-lambdas")}
