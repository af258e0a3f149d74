"""`kafka-sidecar status` for people."""

from __future__ import annotations

import click
import pytest

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.fleet.asking import Answered
from sidecar.commands.status.text import View, status_text
from tests.unit.explain.scenes import MINUTE, PAUSED, SECOND, ago, lambda_, one, partition, process, status

from .scenes import FAILED, HERE, THERE, busy, only

PLAIN = View()


def test_problems_come_first_then_lambdas_then_one_table() -> None:
    halted = "ValueError: no; fails at offset 8813; kafka-sidecar resume billing/orders/1"
    paused = "migration; kafka-sidecar resume billing/orders/2"
    assert status_text(only(busy()), PLAIN).splitlines() == [
        "kafka-sidecar 0.1.0, up 2h, Kafka at kafka:9092",
        "problem of scribe: missing topics: a (for 2m)",
        "",
        "billing: orders in group billing; connected, in the group",
        "  process billing-2, pid 4711 (py 1), lambda version 2.3, as bills: 1 partition, could take another",
        "",
        "scribe: a, b in group s; not connected to Kafka, not in the group",
        "  no lambda process is connected",
        "",
        "LAMBDA   PARTITION  STATE    SINCE  PROCESS    CHECKPOINT   END  LAG  OUTSTANDING  AGE   RATE  NOTE",
        "billing  orders/0   running    60m  billing-2        8812  9000  187           40   3s  402/s  attempt 2",
        f"billing  orders/1   halted      9m  -                8812  8813    0            0    -      -  {halted}",
        f"billing  orders/2   paused     60s  -                8812  8813    0            0    -      -  {paused}",
        "",
        "4 causes need a person: kafka-sidecar explain says what is wrong and what helps",
    ]


@pytest.mark.parametrize(
    ("count", "lanes", "held"),
    [(1, 0, "1 partition"), (32, 1, "32 partitions"), (1, 8, "1 lane"), (32, 8, "32 lanes"), (0, 8, "0 lanes")],
)
def test_a_process_holds_lanes_where_the_partitions_have_them(count: int, lanes: int, held: str) -> None:
    answer = status(lambda_(partition(1), lanes=lanes, processes=[process(partitions=count)]))
    line = next(line for line in status_text(only(answer), PLAIN).splitlines() if line.startswith("  process"))
    assert line.endswith(f": {held}")


def test_the_table_fits_the_terminal_unless_it_is_wide() -> None:
    lines = status_text(only(busy()), View(columns=120)).splitlines()
    assert max(map(len, lines)) <= 120
    assert next(line for line in lines if "halted" in line).endswith("...")
    wide = status_text(only(busy()), View(is_wide=True)).splitlines()
    titles = next(line for line in wide if line.startswith("LAMBDA"))
    for title in ("DELIVERED", "HANDLED", "COMMITTED", "BYTES", "WAITING", "ATTEMPT"):
        assert title in titles
        assert all(title not in line for line in lines)


def test_colours_only_repeat_what_the_words_say() -> None:
    coloured = status_text(only(busy()), View(has_colour=True))
    assert click.unstyle(coloured) == status_text(only(busy()), PLAIN)
    for state, colour in (("running", "green"), ("paused", "yellow")):
        assert click.style(state.ljust(7), fg=colour) in coloured
    assert click.style("halted ", fg="red", bold=True) in coloured


def test_notes_say_what_is_known_of_a_partition() -> None:
    names = [f"t/{name}" for name in "abcdefghij"]
    answer = status(
        lambda_(
            partition(1, state=PAUSED, reason="slow down", resumes_at_ms=ago(-12 * SECOND)),
            partition(2, stalled_since_ms=ago(6 * MINUTE), outstanding=7),
            partition(3, skipped_records=30, skipping=["t/a"], skipping_count=1),
            partition(4, skipped_records=10, skipping=names, skipping_count=12),
            partition(5, blocked_since_ms=ago(5 * SECOND)),
            partition(6, state=pb.PARTITION_STATE_BACKING_OFF, attempt=3, next_retry_at_ms=ago(-4 * SECOND)),
            partition(7, progress="43 \x1b[2J%", overdue_at_ms=ago(-9 * SECOND), outstanding=1),
            partition(8, progress="44 %", overdue_at_ms=ago(-4 * MINUTE), outstanding=1),
            dead_letters=1,
            hand_overs=2,
            skipped_records=40,
            reports=1,
            processes=[process(last_seen_ms=ago(3 * MINUTE), pid=0)],
        )
    )
    lines = status_text(only(answer), PLAIN).splitlines()
    assert lines[2].endswith("; 1 dead letter; 2 hand-overs; 1 reported error; 40 skipped records")
    assert lines[3] == "  process billing-2 (): 1 partition, last heard of 3m ago"
    assert [line.split("  ")[-1] for line in lines[6:14]] == [
        "slow down; goes on by itself in 12s",
        "no checkpoint for 6m, 7 unacknowledged",
        "skips 1 corrupt document (t/a), 30 records so far",
        f"skips 12 corrupt documents (the latest: {', '.join(reversed(names))}), 10 records so far",
        "window full for 5s",
        "attempt 3; tried again in 4s",
        "says 43 \\x1b[2J%; ended in 9s without progress",
        "says 44 %",
    ]


def test_a_state_of_a_newer_sidecar() -> None:
    assert "state 99" in status_text(only(one(state=99)), PLAIN)


def test_what_a_lambda_says_cannot_move_the_cursor() -> None:
    answer = busy()
    answer.lambdas[0].partitions[1].reason = "\x1b[2Jno\nway"
    text = status_text(only(answer), View(has_colour=True))
    assert "\x1b[2J" not in text
    assert "\\x1b[2Jno\\nway" in text


def test_several_sidecars_are_one_table() -> None:
    second = status(lambda_(partition(7)), version="0.2.0", draining=True)
    lines = status_text([Answered(HERE, busy()), FAILED, Answered(THERE, second)], PLAIN).splitlines()
    assert lines[0] == f"{HERE.address}: kafka-sidecar 0.1.0, up 2h, Kafka at kafka:9092"
    assert lines[1] == f"problem: {FAILED.reason}"
    assert lines[2].startswith(f"{THERE.address}: kafka-sidecar 0.2.0")
    assert lines[2].endswith("; it was told to stop")
    assert f"billing at {THERE.address}: orders in group billing; connected, in the group" in lines
    table = next(n for n, line in enumerate(lines) if line.startswith("SIDECAR"))
    assert [line.split()[:3] for line in lines[table + 1 : table + 5]] == [
        [HERE.address, "billing", "orders/0"],
        [HERE.address, "billing", "orders/1"],
        [HERE.address, "billing", "orders/2"],
        [THERE.address, "billing", "orders/7"],
    ]
