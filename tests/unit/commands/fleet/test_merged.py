"""The status of several sidecars as JSON, and what nobody owns."""

import json

from sidecar.commands.fleet.addresses import Member
from sidecar.commands.fleet.asking import Answer
from sidecar.commands.fleet.merged import merged_json, unowned_lines

from .answers import FAILED, HERE, THERE, answered

ANSWERS: list[Answer] = [answered(HERE, [0, 2]), FAILED, answered(THERE, [1])]


def test_json_says_where_each_lambda_is() -> None:
    shown = json.loads(merged_json(ANSWERS))
    assert [(one["address"], one.get("error")) for one in shown["sidecars"]] == [
        (HERE.address, None),
        (FAILED.sidecar.address, FAILED.reason),
        (THERE.address, None),
    ]
    assert shown["sidecars"][0]["started_at_ms"] == 1000
    owned = {one["sidecar"]: [p["partition"] for p in one["partitions"]] for one in shown["lambdas"]}
    assert owned == {HERE.address: [0, 2], THERE.address: [1]}
    assert shown["unowned"] == []


def test_the_partitions_that_nobody_owns() -> None:
    sized = [answered(HERE, [0, 2], size=8), answered(THERE, [1], size=7)]
    assert [*unowned_lines(sized, [])] == ["deli: nobody owns raw/3-7"], "the one that knows more is right"
    assert [*unowned_lines([*sized, FAILED], [])] == ["deli: none of those that answered owns raw/3-7"]
    free = json.loads(merged_json(sized))["unowned"]
    assert free == [{"lambda": "deli", "group": "g", "topic": "raw", "partition": n} for n in range(3, 8)]
    scattered = [answered(HERE, [1, 3], size=5), answered(THERE, [])]
    assert [*unowned_lines(scattered, [])] == ["deli: nobody owns raw/0, raw/2, raw/4"]
    assert [*unowned_lines([answered(HERE, [0, 2], size=3), answered(THERE, [1], size=3)], [])] == []


def test_a_member_of_the_group_that_did_not_answer() -> None:
    """Kafka knows its host, but not that it listens on another port than the others."""
    sized = [answered(HERE, [0, 2], size=6), answered(THERE, [1], size=6)]
    members = [
        Member("10.0.0.3", "kafka-sidecar", frozenset({("raw", 0), ("raw", 2)})),
        Member("10.0.0.3", "another", frozenset({("raw", 3), ("raw", 4)})),
    ]
    nobody, held = unowned_lines(sized, members)
    assert nobody == "deli: nobody owns raw/3-5"
    assert held.startswith("  Kafka has given raw/3-4 to a member at 10.0.0.3 (client.id another), which is none of")
