"""The lanes of one partition share its position in Kafka's client: each gets its own records all the same.

Hypothesis fetches, sends, moves lanes back and forth, puts off and shortens; after each step every lane has what
comes next for it, once and in order, and no place passes a record that was not sent.
"""

from confluent_kafka import Message
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sidecar.partitions.vocabulary import Lane, Place
from sidecar.records.key_lane import lane_of
from sidecar.records.records import Frame

from .bench import P0, Bench, SourceKind

LANES = 3
LANE = st.integers(0, LANES - 1)
SOME = st.integers(1, 6)


class LanePositions(RuleBasedStateMachine):
    """See the module."""

    @initialize(
        keys=st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"", None]), min_size=20, max_size=60),
        source=st.sampled_from(["rows", "messages"]),
        places=st.lists(st.integers(0, 9), min_size=LANES, max_size=LANES),
    )
    def begun(self, keys: list[bytes | None], source: SourceKind, places: list[int]) -> None:
        self.bench = Bench(source, lanes=LANES)
        self.keys = keys
        self.of = [
            [offset for offset, key in enumerate(keys) if lane_of(key, offset, LANES) == number]
            for number in range(LANES)
        ]
        self.next = places
        self.reads_from = min(places)
        self.bench.client.source.lead([P0])
        self.bench.table.assigned([P0], self.bench.now)
        self.fetch(3)  # the client does not wait until the places are known
        self.bench.table.resolved(P0, min(places), 0.0, committed=True, places=[Place(place) for place in places])
        self.bench.client.positions.begin(P0)

    @property
    def lanes(self) -> list[Lane]:
        return [*self.bench.table.lanes_of(P0)]

    def waiting(self, lane: Lane) -> list[int]:
        if not self.bench.buffer.count(lane):
            return []
        frame = self.bench.buffer.frame(lane, 1_000, 1 << 20, 1 << 20)
        assert isinstance(frame, Frame)
        return [*(frame.offsets or range(frame.first, frame.last + 1))]

    # --- what happens -------------------------------------------------------------------------------------------

    @rule(count=SOME)
    def fetch(self, count: int) -> None:
        """The client reads on."""
        consumer = self.bench.consumer
        first = self.reads_from
        messages = [
            Message(topic="t", partition=0, offset=offset, key=self.keys[offset], value=b"v", timestamp=(1, 1))
            for offset in range(first, min(first + count, len(self.keys)))
        ]
        if messages:
            consumer.batches.append(messages)
            self.bench.client.source.read()
            self.reads_from = first + len(messages)

    @rule(number=LANE, count=SOME)
    def sent(self, number: int, count: int) -> None:
        waiting = self.waiting(self.lanes[number])[:count]
        if waiting:
            self.bench.buffer.taken(self.lanes[number], len(waiting))
            self.next[number] = waiting[-1] + 1

    @rule(where=st.dictionaries(LANE, st.integers(-12, 4), min_size=1), seekable=st.booleans())
    def moved(self, where: dict[int, int], seekable: bool) -> None:
        """A restart of lambdas, or an operator's seek, which may also go forward."""
        self.bench.consumer.seekable = seekable
        targets = {number: max(0, min(len(self.keys), self.next[number] + by)) for number, by in where.items()}
        self.bench.client.positions.rewind(P0, {self.lanes[number]: at for number, at in targets.items()})
        self._follow()
        for number, at in targets.items():
            self.next[number] = at

    @rule(number=LANE)
    def put_off(self, number: int) -> None:
        self.bench.buffer.put_off(self.lanes[number])

    @rule(number=LANE, size=st.integers(0, 200))
    def shortened(self, number: int, size: int) -> None:
        """A part of what waits is put off."""
        before = self.waiting(self.lanes[number])
        self.bench.buffer.shorten(self.lanes[number], size)
        assert self.waiting(self.lanes[number])[:1] == before[:1], "the first record stays"

    @rule(numbers=st.sets(LANE, min_size=1))
    def taken_again(self, numbers: set[int]) -> None:
        found = {lane: self.bench.buffer.take_again(lane) for lane in (self.lanes[number] for number in numbers)}
        offsets = {lane: offset for lane, offset in found.items() if offset is not None}
        if offsets:
            self.bench.client.positions.fetch_again(P0, offsets)
            self._follow()

    def _follow(self) -> None:
        """The client is where it was moved last."""
        consumer = self.bench.consumer
        if consumer.sought:
            self.reads_from = consumer.sought[-1]
        if consumer.moves:
            self.reads_from = consumer.moves[-1][0]
        consumer.sought.clear()
        consumer.moves.clear()

    # --- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def each_lane_has_what_comes_next_once_and_in_order(self) -> None:
        for number, lane in enumerate(self.lanes):
            left = [offset for offset in self.of[number] if offset >= self.next[number]]
            waiting = self.waiting(lane)
            assert waiting == left[: len(waiting)]

    @invariant()
    def no_place_passes_a_record_that_was_not_sent(self) -> None:
        places = self.bench.state.places
        for number, lane in enumerate(self.lanes):
            seen = places.seen(lane)
            assert [offset for offset in self.of[number] if self.next[number] <= offset < seen] == []

    def teardown(self) -> None:
        """In the end every lane has had all of its records."""
        if not hasattr(self, "next"):
            return
        for _ in range(LANES + 1):
            self.fetch(len(self.keys))
            for number in range(LANES):
                self.sent(number, len(self.keys))
            for number in range(LANES):
                self.taken_again({number})
        for number in range(LANES):
            assert [offset for offset in self.of[number] if offset >= self.next[number]] == []


TestLanePositions = LanePositions.TestCase
TestLanePositions.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
