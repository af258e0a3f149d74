"""The status of several sidecars as one."""

import json

from sidecar.commands.fleet.addresses import Member
from sidecar.commands.fleet.asking import Answer
from sidecar.commands.fleet.merged import merged_json, merged_text

from .answers import FAILED, HERE, THERE, answered

ANSWERS: list[Answer] = [answered(HERE, [0, 2]), FAILED, answered(THERE, [1])]


def test_one_table_says_who_owns_what() -> None:
    lines = merged_text(ANSWERS, 5000).splitlines()
    assert lines[0].startswith(f"{HERE.address}: kafka-sidecar 1.0, up 4s")
    assert lines[1] == f"problem: {FAILED.reason}"
    assert lines[2].startswith(f"{THERE.address}: kafka-sidecar 1.0")
    assert f"deli at {THERE.address}: raw in group g; connected, in the group" in lines
    table = next(n for n, line in enumerate(lines) if line.split()[:2] == ["SIDECAR", "PARTITION"])
    rows = [line.split()[:3] for line in lines[table + 1 : table + 4]]
    assert rows == [
        [HERE.address, "raw/0", "running"],
        [THERE.address, "raw/1", "running"],
        [HERE.address, "raw/2", "running"],
    ]


def test_groups_are_kept_apart() -> None:
    text = merged_text([answered(HERE, [0], group="g"), answered(THERE, [0], group="h")], 5000)
    assert text.count("SIDECAR") == 2


def test_what_a_lambda_says_cannot_move_the_cursor() -> None:
    text = merged_text([answered(HERE, [0], name="de\x1bli"), FAILED], 5000)
    assert "\x1b" not in text
    assert "de\\x1bli" in text


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
    assert merged_text(sized, 5000).splitlines()[-1] == "  nobody owns raw/3-7", "the one that knows more is right"
    assert merged_text([*sized, FAILED], 5000).splitlines()[-1] == "  none of those that answered owns raw/3-7"
    free = json.loads(merged_json(sized))["unowned"]
    assert free == [{"lambda": "deli", "group": "g", "topic": "raw", "partition": n} for n in range(3, 8)]
    scattered = merged_text([answered(HERE, [1, 3], size=5), answered(THERE, [])], 5000)
    assert scattered.endswith("nobody owns raw/0, raw/2, raw/4")
    assert "owns" not in merged_text([answered(HERE, [0, 2], size=3), answered(THERE, [1], size=3)], 5000)


def test_a_member_of_the_group_that_did_not_answer() -> None:
    """Kafka knows its host, but not that it listens on another port than the others."""
    sized = [answered(HERE, [0, 2], size=6), answered(THERE, [1], size=6)]
    members = [
        Member("10.0.0.3", "kafka-sidecar", frozenset({("raw", 0), ("raw", 2)})),
        Member("10.0.0.3", "another", frozenset({("raw", 3), ("raw", 4)})),
    ]
    nobody, held = merged_text(sized, 5000, members).splitlines()[-2:]
    assert nobody == "  nobody owns raw/3-5"
    assert held.startswith("  Kafka has given raw/3-4 to a member at 10.0.0.3 (client.id another), which is none of")
