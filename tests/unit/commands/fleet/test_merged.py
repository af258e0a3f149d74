"""The status of several sidecars as one."""

import json

from sidecar.commands.fleet.asking import Answer
from sidecar.commands.fleet.merged import merged_json, merged_text

from .answers import FAILED, HERE, THERE, answered

ANSWERS: list[Answer] = [answered(HERE, [0, 2]), FAILED, answered(THERE, [1])]


def test_one_table_says_who_owns_what() -> None:
    lines = merged_text(ANSWERS, 5000).splitlines()
    assert lines[0].startswith(f"{HERE.address}: kafka-sidecar 1.0, up 4s")
    assert lines[1] == f"no answer: {FAILED.reason}"
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
