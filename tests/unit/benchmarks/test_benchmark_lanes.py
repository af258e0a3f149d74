"""What the row `lanes` runs, counts and refuses."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import lane_rows, lanes, throughput
from benchmarks.row import Row
from sdk_python import IContext, Message


class Context:
    """As much of one as the lambda uses."""

    def __init__(self) -> None:
        self.checkpoints: list[int] = []

    def checkpoint(self, offset: int) -> None:
        self.checkpoints.append(offset)


def message(offset: int, key: bytes) -> Message:
    return Message("topic", 0, offset, None, 0, key, b"", ())


def lane(kind: lanes.Kind, **more: object) -> tuple[Any, Context, lanes._Lambda]:
    factory = SimpleNamespace(count=0, strange="", kind=kind, slow=None, slow_s=0.0, **more)
    context = Context()
    return factory, context, lanes._Lambda(cast("IContext", context), cast("lanes._Factory", factory))


@pytest.mark.parametrize("kind", lanes.WAITING)
def test_a_record_is_counted_and_checkpointed_when_its_work_is_done(
    kind: lanes.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WORK_S", 0)
    factory, context, one = lane(kind)

    async def handle() -> None:
        for offset in (3, 5, 9):  # a lane has gaps
            result = one.handler(message(offset, b"a"))
            if result is not None:
                assert context.checkpoints == [done for done in (3, 5) if done < offset]
                await result

    asyncio.run(handle())
    assert (factory.count, factory.strange, context.checkpoints) == (3, "", [3, 5, 9])


def test_a_key_whose_records_come_in_another_order_or_twice_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "WORK_S", 0)
    factory, _, one = lane("block")
    for offset, key in ((4, b"a"), (3, b"b")):
        one.handler(message(offset, key))
    assert factory.strange == ""
    one.handler(message(4, b"a"))
    assert factory.strange == "b'a' out of order or twice: 4"


def test_the_slow_key_is_not_counted() -> None:
    factory, context, one = lane("none")
    factory.slow = b"slow"
    assert one.handler(message(0, b"other")) is None
    held = one.handler(message(1, b"slow"))
    assert held is not None
    asyncio.run(held)
    assert (factory.count, context.checkpoints) == (1, [0, 1])


def test_a_run_has_as_many_records_as_its_handlers_can_do() -> None:
    a_lane = lanes.records("await", 1, 1)
    assert lanes.records("await", 64, 2) == pytest.approx(64 * a_lane, rel=0.01)
    assert lanes.records("block", 64, 4) == pytest.approx(4 * a_lane, rel=0.01)
    assert lanes.records("block", 1, 4) == a_lane


def test_a_partition_is_committed_when_each_of_its_lanes_says_so() -> None:
    def row(partition: int, committed: int) -> SimpleNamespace:
        return SimpleNamespace(partition=partition, committed=committed)

    status = SimpleNamespace(partitions=[row(0, 7), row(1, 5), row(0, 6), row(0, 9)])
    assert throughput._committed(cast("Any", status)) == {0: 6, 1: 5}


def test_every_comparison_is_between_contestants_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for nothing in ("fill", "delete_topic"):
        monkeypatch.setattr(lane_rows, nothing, lambda *_, **__: None)
    monkeypatch.setattr(lane_rows, "is_there", lambda _: True)
    rows: list[Row] = list(lane_rows.rows("nowhere:1", SimpleNamespace(records=8)))  # type: ignore[arg-type]
    assert [row.name for row in rows] == ["lanes: await", "lanes: block", "lanes: slow key", "lanes: counting"]
    for row in rows:
        assert row.compare
        assert {who for one in row.compare for who in (one.above, one.below)} <= {*row.contestants}
