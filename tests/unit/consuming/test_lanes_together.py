"""What the lanes of one partition share: its commit, its place in Kafka's client, its pauses, the span."""

import asyncio
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, TopicPartition as KafkaPartition

from sidecar.cluster import commit_metadata
from sidecar.consuming import resolving
from sidecar.consuming.back_pressure import ALL_STARTING_S, LANE_STUCK_AFTER_S, STARTING_S, TAKING_S
from sidecar.consuming.fetch_buffer import MAX_WAITING_BYTES
from sidecar.mail import letters
from sidecar.mail.facts import Commit, Edges, Origin
from sidecar.partitions.vocabulary import (
    Assign,
    ClosedReason,
    ErrorAction,
    Failure,
    Lane,
    Lease,
    OrderRefused,
    Place,
    Progress,
    State,
    StreamId,
)
from sidecar.records.key_lane import lane_of

from .bench import P0, Bench, offsets_of
from .played_inquiries import topic

LANES = 4
KEYS = {
    number: next(b"%d" % n for n in range(100) if lane_of(b"%d" % n, 0, LANES) == number) for number in range(LANES)
}
"""A key of each lane."""
ID = "AAAAAAAAAAAAAAAAAAAAAQ"


class Lanes:
    """One partition with four lanes, all held by one process."""

    def __init__(self, *, at: int = 0, places: tuple[Place, ...] = (), **options: Any) -> None:
        self.bench = bench = Bench(now=0.0, lanes=LANES, **options)
        bench.client.source.lead([P0])
        bench.table.assigned([P0], bench.now)
        bench.table.resolved(P0, at, bench.now, committed=True, places=places)
        bench.client.positions.begin(P0)
        self.lanes = [*bench.table.lanes_of(P0)]
        self.leases: dict[int, Lease] = {}
        self.streams: dict[StreamId, int] = {}
        for stream in range(1, LANES + 1):
            self.offer(stream)

    def offer(self, stream: StreamId, process: str = "process") -> None:
        """A stream comes, and gets a lane if one waits."""
        self.bench.table.streams.available(stream, process, 1 << 20, self.bench.now)
        for command in [one for one in self.bench.table.commands if isinstance(one, Assign)]:
            self.bench.table.commands.remove(command)
            self.bench.table.streams.ready(command.stream, command.lease, self.bench.now)
            self.leases[command.lane.number] = command.lease
            self.streams[command.stream] = command.lane.number

    def come(self, *numbers: int, first: int | None = None, size: int = 1) -> None:
        """Records of these lanes come, one after the other."""
        at = self.bench.fetching.next_offset.get(P0, 0) if first is None else first
        self.bench.come(
            *(
                Message("t", 0, at + index, key=KEYS[number], value=b"v" * size, timestamp=(1, 1))
                for index, number in enumerate(numbers)
            )
        )

    def sent(self) -> dict[int, list[int]]:
        """All that may go is sent and written: the offsets by lane."""
        found: dict[int, list[int]] = {}
        for _ in range(20):
            self.bench.sender.work(self.bench.now)
            posted, self.bench.outbox.posted = self.bench.outbox.posted, []
            frames = [item for item in posted if isinstance(item, letters.Send)]
            for frame in frames:
                number = self.streams[frame.stream]
                found.setdefault(number, []).extend(offsets_of(frame))
                lane = self.bench.table.streams.written(frame.stream)
                assert lane == self.lanes[number]
                self.bench.in_flight.written(lane, self.bench.now)
                self.bench.sender.changed.add(lane)
            if not frames:
                return found
        raise AssertionError("there is no end to it")

    def done(self, number: int, offset: int) -> None:
        self.bench.table.streams.checkpoint(self.leases[number], Progress(offset), self.bench.now)
        self.bench.sender.changed.add(self.lanes[number])

    def state(self, number: int) -> State:
        return self.bench.table.lanes[self.lanes[number]].state

    def places(self) -> tuple[int, ...]:
        return self.bench.table.partitions[P0].places

    def commit(self) -> int | None:
        """Commit at the interval. Returns the offset that went to Kafka; None: nothing went."""
        before = len(self.bench.consumer.committed)
        self.bench.commits.hurry()
        self.bench.commits.work(self.bench.client.consumer, self.bench.now)
        sent = self.bench.consumer.committed[before:]
        if not sent:
            return None
        self.bench.commits.on_commit(None, [KafkaPartition(*P0, sent[-1])])
        return sent[-1]

    def restart(self, number: int) -> None:
        """The lane's lambda fails, and its back-off is over."""
        failure = Failure(ErrorAction.RESTART, message="away")
        stream = next(stream for stream, held in self.streams.items() if held == number)
        self.bench.table.streams.error(self.leases[number], failure, None, self.bench.now)
        self.bench.table.streams.closed(stream, ClosedReason.ERROR, None, self.bench.now)
        self.bench.letters.carry_out()


# --- places ---------------------------------------------------------------------------------------------------------


def test_the_lowest_place_is_committed_and_a_lane_without_records_is_where_the_partition_was_read_to() -> None:
    lanes = Lanes()
    lanes.come(0, 0, 1, 1)
    assert lanes.sent() == {0: [0, 1], 1: [2, 3]}
    lanes.done(1, 3)
    lanes.commit()
    assert lanes.places() == (0, 4, 4, 4)
    lanes.done(0, 0)
    assert lanes.commit() == 1, "at the record that is not done"
    lanes.done(0, 1)
    assert lanes.commit() == 4


def test_a_slow_record_holds_the_commit_at_its_own_offset_and_the_others_are_committed_all_the_same() -> None:
    lanes = Lanes()
    lanes.come(0, 1, 1, 0, 1)
    lanes.sent()
    lanes.done(0, 0)
    lanes.done(1, 2)
    assert lanes.commit() == 3
    lanes.done(1, 4)
    assert lanes.commit() == 3, "the same offset: the place of lane 1 has moved"
    assert [lane.offsets.committed for lane in lanes.bench.table.partitions[P0].lanes] == [3, 5, 5, 5]
    assert lanes.commit() is None


def test_what_is_buffered_holds_the_place_of_its_lane() -> None:
    lanes = Lanes(window={"messages": 1})
    lanes.come(0, 0, 0, 1)
    assert lanes.sent() == {0: [0], 1: [3]}
    lanes.done(0, 0)
    lanes.done(1, 3)
    lanes.commit()
    assert lanes.places() == (1, 4, 4, 4)


def test_past_a_marker_all_lanes_follow_the_position_of_the_client() -> None:
    lanes = Lanes()
    lanes.come(0)
    lanes.sent()
    lanes.bench.consumer.positions[P0] = 2
    lanes.commit()
    assert lanes.places() == (0, 1, 1, 1), "as long as a record is outstanding, the position says nothing"
    lanes.done(0, 0)
    assert lanes.commit() == 2
    assert lanes.places() == (2, 2, 2, 2)


# --- a start --------------------------------------------------------------------------------------------------------


def test_each_lane_goes_on_from_its_own_place_and_drops_what_is_before() -> None:
    lanes = Lanes(at=10, places=(Place(10), Place(13), Place(12), Place(10)))
    lanes.come(0, 1, 2, 1, 0, first=10)
    assert lanes.sent() == {0: [10, 14], 1: [13], 2: [12]}
    assert lanes.bench.fetching.next_offset[P0] == 15


@pytest.mark.parametrize(
    ("places", "expected", "told"),
    [
        ((Place(7), Place(9), Place(8), Place(30)), (7, 9, 8, 30), None),
        ((Place(7), Place(7), Place(7), Place(7)), (7, 7, 7, 7), None),
        ((Place(7), Place(9)), (7, 7, 7, 7), "the partition was committed with another number of lanes"),
        ((), (7, 7, 7, 7), "the commit does not say where each lane is"),
    ],
)
def test_places_count_if_they_are_of_the_same_number_of_lanes_and_in_the_log(
    monkeypatch: pytest.MonkeyPatch, places: tuple[Place, ...], expected: tuple[int, ...], told: str | None
) -> None:
    bench = starting(monkeypatch, places)
    bench.client.resolving.work()
    assert bench.table.partitions[P0].places == expected
    assert bench.fetching.next_offset == {P0: 7}
    warnings = [text for level, text in bench.recorder.told() if level in ("warning", "error")]
    assert len(warnings) == (told is not None)
    assert told is None or warnings[0].startswith(told)


def starting(monkeypatch: pytest.MonkeyPatch, places: tuple[Place, ...]) -> Bench:
    """A partition is assigned that was committed at 7, with these places. Its log shows records up to 50."""
    bench = Bench(lanes=LANES)
    bench.clock(monkeypatch, resolving)
    bench.broker.facts = {"t": topic(ID, 1)}
    bench.broker.edges_are = {P0: Edges(5, 50)}
    bench.broker.commits_are = {P0: Commit(7, Origin(ID, 1), places)}
    bench.subscription.learn(bench.broker.facts, [])
    bench.recorder.take()
    bench.client.source.lead([P0])
    bench.table.assigned([P0], bench.now)
    bench.client.resolving.assigned([P0])
    bench.now += resolving.RETRY_AFTER_S
    return bench


def test_lanes_wait_for_a_leader_that_does_not_show_all_records_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen when a broker was killed: all lanes began at the committed offset, and each record was copied twice."""
    bench = starting(monkeypatch, (Place(7), Place(51, b"s"), Place(8), Place(90)))
    bench.client.resolving.work()
    assert bench.table.partitions[P0].resolving
    assert [text for level, text in bench.recorder.told() if level in ("warning", "error")] == [
        "a partition cannot start yet; asking again"
    ]
    reason = bench.table.partitions[P0].lanes[0].trouble.reason
    assert reason.startswith("its leader shows records up to 50, and lanes have processed some up to 90")
    bench.broker.edges_are = {P0: Edges(5, 90)}
    bench.now += resolving.RETRY_AFTER_S
    bench.client.resolving.work()
    assert bench.table.partitions[P0].places == (7, 51, 8, 90)
    assert bench.table.partitions[P0].lanes[1].offsets.state == b"s"


def test_lanes_go_on_from_the_end_of_a_log_that_has_lost_what_they_had_processed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = starting(monkeypatch, (Place(7), Place(51), Place(8), Place(90)))
    until = bench.now + resolving.SHORT_LOG_S
    while bench.now < until:
        bench.client.resolving.work()
        assert bench.table.partitions[P0].resolving
        bench.now += resolving.RETRY_AFTER_S
    bench.client.resolving.work()
    assert bench.table.partitions[P0].places == (7, 50, 8, 50)
    (told,) = [text for level, text in bench.recorder.told() if level == "error"]
    assert told.startswith("the log ends before what some lanes had processed")


def test_the_places_of_128_lanes_fit_into_the_metadata_with_large_gaps() -> None:
    places = [Place(1 << 50, b"s" * 16)] + [Place((1 << 50) + (1 << 34) + n, b"s" * 16) for n in range(127)]
    text = commit_metadata.encode(Origin(ID, 100_000, 1_790_000_000_000), places)
    assert len(text) <= commit_metadata.MAX_BYTES
    assert commit_metadata.decode(1 << 50, text).places == tuple(places)


# --- a rewind -------------------------------------------------------------------------------------------------------


def test_a_lane_that_restarts_moves_the_client_and_the_others_drop_what_they_have() -> None:
    lanes = Lanes()
    lanes.come(0, 1, 2, 0, 1, 2)
    lanes.sent()
    lanes.done(1, 4)
    lanes.restart(1)
    assert lanes.bench.consumer.sought == [], "it had nothing outstanding"
    lanes.restart(0)
    assert lanes.bench.consumer.sought == [0]
    lanes.bench.now += 60.0
    lanes.bench.table.tick(lanes.bench.now)
    lanes.offer(11)
    lanes.offer(12)
    lanes.come(0, 1, 2, 0, 1, 2, 3, first=0)
    assert lanes.sent() == {0: [0, 3], 3: [6]}


def test_lanes_that_fail_together_move_the_client_once() -> None:
    lanes = Lanes()
    lanes.come(0, 1, 2, 3)
    lanes.sent()
    for stream in [*lanes.streams]:
        lanes.bench.table.streams.lost(stream, lanes.bench.now)
    lanes.bench.letters.carry_out()
    assert lanes.bench.consumer.sought == [0]


def test_while_the_client_reads_again_for_one_lane_a_later_place_of_another_needs_no_move() -> None:
    lanes = Lanes()
    lanes.come(0, 1, 0, 1)
    lanes.sent()
    lanes.restart(0)
    lanes.restart(1)
    assert lanes.bench.consumer.sought == [0], "lane 1 begins at 1, which the client has yet to read"
    lanes.bench.now += 60.0
    lanes.bench.table.tick(lanes.bench.now)
    lanes.offer(11)
    lanes.offer(12)
    lanes.come(0, 1, 0, 1, first=0)
    assert lanes.sent() == {0: [0, 2], 1: [1, 3]}


def test_a_record_that_cannot_be_read_halts_the_lane_of_its_offset() -> None:
    lanes = Lanes()
    lanes.come(0)
    bad = Message("t", 0, 6, error=KafkaError(KafkaError._BAD_MSG))
    lanes.bench.come(bad)
    lanes.come(0, 2, 3, first=7)
    assert lanes.sent() == {0: [0, 7], 3: [9]}, "6 mod 4 is 2, and nothing after it is sent there"
    assert lanes.state(2) is State.DRAINING
    lanes.commit()
    assert lanes.places()[2] <= 6


# --- the span and back-pressure -------------------------------------------------------------------------------------


def test_a_lane_that_is_the_whole_span_ahead_waits_for_the_lowest_and_goes_on_with_it() -> None:
    lanes = Lanes(window={"messages": 1})
    span = lanes.bench.table.limits.window_span
    lanes.come(0)
    lanes.come(1, first=span)
    assert lanes.sent() == {0: [0], 1: [span]}
    lanes.done(1, span)
    lanes.come(1)
    assert lanes.sent() == {}, "the last one sent is a whole span after lane 0's record"
    lanes.bench.sender.look_again()
    assert lanes.sent() == {}
    lanes.done(0, 0)
    lanes.bench.sender.look_again()
    assert lanes.sent() == {1: [span + 1]}


HALF_MEBIBYTE = 512 * 1024
MORE_THAN_A_SHARE = MAX_WAITING_BYTES // LANES // HALF_MEBIBYTE + 2
"""Records of that size: one of them is sent, and the others are more than one lane may buffer."""


def test_a_lane_without_progress_puts_off_what_is_beyond_its_share_and_gets_it_later() -> None:
    lanes = Lanes(window={"messages": 1})
    count = MORE_THAN_A_SHARE
    lanes.come(*[0] * count, 1, size=HALF_MEBIBYTE)
    assert lanes.sent() == {0: [0], 1: [count]}
    lanes.bench.now += LANE_STUCK_AFTER_S
    lanes.done(1, count)
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.paused == set(), "the others go on"
    lanes.come(0, 1, 0)
    put_off, end = count + 1, count + 4
    assert lanes.sent() == {1: [put_off + 1]}
    assert lanes.bench.buffer.count(lanes.lanes[0]) == count - 1
    lanes.done(1, put_off + 1)
    lanes.commit()
    assert lanes.places() == (0, end, end, end)
    for offset in range(count):
        lanes.done(0, offset)
        lanes.sent()
    lanes.commit()
    assert lanes.places() == (put_off, end, end, end), "what was put off is not passed"
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.sought == [put_off]
    lanes.come(0, 1, 0, first=put_off)
    assert lanes.sent() == {0: [put_off]}
    lanes.done(0, put_off)
    assert lanes.sent() == {0: [put_off + 2]}


def test_the_client_is_moved_once_for_all_lanes_that_can_take_records_again() -> None:
    lanes = Lanes()
    for number in (0, 1):
        lanes.bench.buffer.put_off(lanes.lanes[number])
    lanes.come(2, 1, 0, 1)
    assert lanes.sent() == {2: [0]}
    lanes.bench.now += STARTING_S
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.sought == [1]
    lanes.come(1, 0, 1, first=1)
    assert lanes.sent() == {0: [2], 1: [1, 3]}


def test_the_client_is_not_moved_for_one_lane_while_others_start() -> None:
    lanes = Lanes()
    lanes.bench.buffer.put_off(lanes.lanes[0])
    lanes.come(2, 0)
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.sought == []
    lanes.bench.now += STARTING_S
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.sought == [1]


def test_the_client_is_not_moved_while_a_process_takes_lanes_and_one_of_the_partition_waits() -> None:
    lanes = Lanes()
    lanes.bench.buffer.put_off(lanes.lanes[0])
    lanes.come(2, 0)
    lanes.bench.table.lanes[lanes.lanes[3]].state = State.WAITING
    lanes.bench.now += STARTING_S
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.sought == []
    lanes.bench.now += TAKING_S
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.sought == [1], "nobody takes it"


def test_a_lane_does_not_wait_for_ever_for_others_that_start_one_after_the_other() -> None:
    lanes = Lanes()
    lanes.bench.buffer.put_off(lanes.lanes[0])
    lanes.come(2, 0)
    other = lanes.bench.table.lanes[lanes.lanes[3]]
    until = lanes.bench.now + ALL_STARTING_S
    while lanes.bench.now < until:
        assert lanes.bench.consumer.sought == []
        other.state_since = lanes.bench.now
        lanes.bench.client.back_pressure.adjust(lanes.bench.now)
        lanes.bench.now += STARTING_S / 2
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.sought == [1]


def test_an_unreadable_record_after_what_was_put_off_is_met_when_that_is_fetched_again() -> None:
    lanes = Lanes()
    lane = lanes.lanes[2]
    lanes.bench.buffer.put_off(lane)
    lanes.come(2, 2)
    lanes.bench.come(Message("t", 0, 6, error=KafkaError(KafkaError._BAD_MSG)))
    assert lanes.sent() == {}
    assert lanes.state(2) is State.RUNNING
    lanes.commit()
    assert lanes.places() == (7, 7, 0, 7)
    lanes.bench.now += STARTING_S
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.sought == [0]
    lanes.come(2, 2, first=0)
    lanes.bench.come(Message("t", 0, 6, error=KafkaError(KafkaError._BAD_MSG)))
    assert lanes.sent() == {2: [0, 1]}
    assert lanes.state(2) is State.DRAINING


def test_a_partition_is_paused_if_none_of_its_lanes_makes_progress() -> None:
    lanes = Lanes(window={"messages": 1})
    lanes.come(*[0, 1, 2, 3] * MORE_THAN_A_SHARE, size=HALF_MEBIBYTE)
    lanes.sent()
    lanes.bench.now += LANE_STUCK_AFTER_S
    lanes.bench.client.back_pressure.adjust(lanes.bench.now)
    assert lanes.bench.consumer.paused == {0}


# --- operators ------------------------------------------------------------------------------------------------------


async def test_an_operator_moves_one_lane_and_the_others_stay() -> None:
    lanes = Lanes()
    lanes.bench.broker.edges_are = {P0: Edges(0, 50)}
    lanes.bench.broker.facts = {"t": topic(ID, 1)}
    lanes.bench.subscription.learn(lanes.bench.broker.facts, [])
    lanes.come(0, 1, 0, 1)
    lanes.sent()
    for number, offset in ((0, 2), (1, 3)):
        lanes.done(number, offset)
    lanes.commit()
    reply: letters.Reply[tuple[int, int, State]] = letters.Reply()
    lanes.bench.letters.read(letters.Seek(P0, letters.SeekTo("offset", 1), reply, 0))
    lanes.bench.letters.read_all()
    lanes.bench.letters.carry_out()
    [answer] = [item for item in lanes.bench.outbox.posted if isinstance(item, letters.Answer)]
    assert answer.error is None
    assert lanes.places() == (1, 4, 4, 4)
    assert lanes.bench.consumer.committed[-1] == 1
    assert lanes.bench.consumer.sought == [1]
    await asyncio.sleep(0)


def test_orders_for_a_lane_that_is_not_there_are_refused() -> None:
    lanes = Lanes()
    with pytest.raises(OrderRefused, match="t/0 has lanes 0 to 3; there is no lane 4") as caught:
        lanes.bench.table.operator.pause(P0, "", 1.0, lanes.bench.now, number=4)
    assert caught.value.kind == "argument"
    with pytest.raises(OrderRefused, match="no lane of t/0 is halted or paused, they are running"):
        lanes.bench.table.operator.resume(P0, lanes.bench.now, skip=False)
    lanes.bench.table.operator.pause(P0, "", 1.0, lanes.bench.now, number=2)
    assert [lanes.state(number) for number in range(LANES)] == [
        State.RUNNING,
        State.RUNNING,
        State.DRAINING,
        State.RUNNING,
    ]


def test_a_lane_is_named_with_its_number() -> None:
    assert str(Lane(P0)) == "t/0"
    assert str(Lane(P0, 3, LANES)) == "t/0.3"
