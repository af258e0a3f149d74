"""What `produce` returns is a future to asyncio, without being one: each use, before and after it is known."""

import asyncio
import contextvars
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from sdk_python import Columns, Produced, ProduceError, Record
from sdk_python._counters import Counters
from sdk_python._limits import Limits
from sdk_python._outcome import Outcome
from sdk_python._outcomes import Outcomes
from sdk_python._produce import Producing
from sdk_python.protocol import lambda_pb2 as pb

BAD = b"bad"


class World:
    """A lease whose sidecar answers when the gate is open; values that begin with ``bad`` are not written."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.gate = asyncio.Event()
        self.passed: list[int] = []
        self.failures: list[BaseException] = []
        self.requests: list[pb.ProduceRequest] = []
        self.outcomes = Outcomes(self.passed.append, self.failures.append)
        self.producing = Producing("L", self._call, lambda _: None, self.outcomes, limits or Limits(), Counters())
        self._offset = 0

    async def _call(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        self.requests.append(request)
        await self.gate.wait()
        response = pb.ProduceResponse()
        for value in request.values:
            written = not value.startswith(BAD)
            response.outcomes.append(pb.PRODUCE_OUTCOME_WRITTEN if written else pb.PRODUCE_OUTCOME_FAILED)
            response.partitions.append(3 if written else -1)
            response.offsets.append(self._offset if written else -1)
            response.errors.append("" if written else "away")
            self._offset += written
        return response

    def put(self, value: bytes = b"v", topic: str = "out") -> Outcome[Produced]:
        return self.producing.put(topic, value)

    async def known(self) -> None:
        self.gate.set()
        await self.producing.drained()


WAYS: list[Callable[[Any], Awaitable[object]]] = [
    lambda outcome: outcome,
    asyncio.ensure_future,
    asyncio.shield,
    lambda outcome: asyncio.wait_for(outcome, 60),
    asyncio.gather,
    lambda outcome: asyncio.create_task(_awaited(outcome)),
    lambda outcome: next(iter(asyncio.as_completed([outcome]))),
]


async def _awaited(outcome: Awaitable[object]) -> object:
    return await outcome


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("early", [True, False])
async def test_each_way_to_wait_gets_the_result(way: Callable[[Any], Awaitable[object]], early: bool) -> None:
    world = World()
    outcome = world.put()
    assert asyncio.isfuture(outcome)
    if not early:
        await world.known()
        assert outcome.done()
    waiting = asyncio.ensure_future(_awaited(way(outcome)))
    await asyncio.sleep(0)
    await world.known()
    result = await waiting
    assert result in (Produced("out", 3, 0), [Produced("out", 3, 0)])
    assert outcome.result() == Produced("out", 3, 0)
    assert outcome.exception() is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("early", [True, False])
async def test_each_way_to_wait_gets_the_failure(way: Callable[[Any], Awaitable[object]], early: bool) -> None:
    world = World()
    outcome = world.put(BAD)
    if not early:
        await world.known()
    waiting = asyncio.ensure_future(_awaited(way(outcome)))
    await asyncio.sleep(0)
    await world.known()
    with pytest.raises(ProduceError, match="away"):
        await waiting
    del outcome, waiting
    gc.collect()
    await asyncio.sleep(0)
    assert world.failures == []


async def test_wait_tells_which_outcomes_are_there() -> None:
    world = World()
    outcomes: list[Any] = [world.put(), world.put(BAD)]
    done, pending = await asyncio.wait(outcomes, timeout=0)
    assert (done, pending) == (set(), {*outcomes})
    await world.known()
    done, pending = await asyncio.wait(outcomes)
    assert (done, pending) == ({*outcomes}, set())
    assert isinstance(outcomes[1].exception(), ProduceError)


async def test_before_it_is_known() -> None:
    outcome = World().put()
    assert not outcome.done()
    assert not outcome.cancelled()
    assert outcome.get_loop() is asyncio.get_running_loop()
    assert repr(outcome) == "<Outcome: not known yet>"
    with pytest.raises(asyncio.InvalidStateError):
        outcome.result()
    with pytest.raises(asyncio.InvalidStateError):
        outcome.exception()


async def test_callbacks_get_the_outcome_in_the_order_of_the_records_and_in_their_context() -> None:
    world, heard = World(), list[Any]()
    name = contextvars.ContextVar[str]("name")
    outcomes = []
    for number in range(3):
        name.set(str(number))
        outcomes.append(world.put())
        outcomes[-1].add_done_callback(lambda outcome: heard.append((outcome, name.get())))
    name.set("later")
    await world.known()
    await asyncio.sleep(0)
    assert heard == [(outcomes[0], "0"), (outcomes[1], "1"), (outcomes[2], "2")]
    heard.clear()
    outcomes[0].add_done_callback(lambda outcome: heard.append((outcome, name.get())))
    assert heard == []  # as for any future: in the next turn of the loop
    await asyncio.sleep(0)
    assert heard == [(outcomes[0], "later")]


async def test_a_callback_can_be_taken_back_and_one_that_raises_stops_no_other() -> None:
    world, heard, said = World(), list[Any](), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    outcome = world.put()

    def raises(_: object) -> None:
        raise RuntimeError("no")

    outcome.add_done_callback(raises)
    outcome.add_done_callback(heard.append)
    outcome.add_done_callback(print)
    outcome.add_done_callback(print)
    assert outcome.remove_done_callback(print) == 2
    assert outcome.remove_done_callback(print) == 0
    await world.known()
    await asyncio.sleep(0)
    assert heard == [outcome]
    assert [str(one["exception"]) for one in said] == ["no"]


async def test_a_cancelled_await_gives_the_outcome_up_and_the_record_is_written() -> None:
    world, heard = World(), list[Any]()
    outcome = world.put()
    outcome.add_done_callback(heard.append)
    task = asyncio.create_task(_awaited(outcome))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcome.cancelled()
    assert outcome.done()
    await asyncio.sleep(0)
    assert heard == [outcome]
    await world.known()
    assert world.outcomes.under_way == 0
    assert outcome.cancelled()
    assert not outcome.cancel()


# --- all records of one call ---------------------------------------------------------------------------------------


async def test_many_have_one_outcome_across_batches() -> None:
    world = World(Limits(produce_records=3))
    outcome = world.producing.put_many("out", [Record(b"%d" % number) for number in range(8)])
    assert not outcome.done()
    await world.known()
    assert [len(request.values) for request in world.requests] == [3, 3, 2]
    assert outcome.result() == [Produced("out", 3, number) for number in range(8)]
    assert await outcome == outcome.result()


async def test_none_at_all_is_known_at_once() -> None:
    assert await World().producing.put_many("out", []) == []
    assert await World().producing.put_many("out", Columns([])) == []


async def test_the_failure_of_one_of_many_says_what_became_of_each() -> None:
    world = World(Limits(produce_records=2))
    values = [b"a", BAD, b"c", bytes(Limits().record_bytes), BAD, b"d"]
    outcome = world.producing.put_many("out", [Record(value) for value in values])
    await world.known()
    with pytest.raises(ProduceError, match="away") as failed:
        await outcome
    assert failed.value.results is not None
    results: list[Any] = [*failed.value.results]
    told = [one.kind if isinstance(one, ProduceError) else one.offset for one in results]
    assert told == [0, "failed", 1, "too_large", "failed", 2]


async def test_what_is_no_record_ends_the_call_after_the_records_before_it() -> None:
    world = World()
    with pytest.raises(TypeError, match=r"produce\(value\)"):
        world.producing.put_many("out", [Record(b"a"), Record(3)])  # type: ignore[arg-type]
    await world.known()
    assert [[*request.values] for request in world.requests] == [[b"a"]]
    assert world.outcomes.under_way == 0


async def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"produce_many\(keys\): 1 for 2 values"):
        World().producing.put_many("out", Columns([b"a", b"b"], [b"k"]))


content = st.none() | st.binary(max_size=4) | st.text(max_size=4)
rows = st.lists(
    st.builds(
        Record,
        content,
        content,
        st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2),
        st.none() | st.integers(0, 5),
    ),
    max_size=12,
)


@given(rows, st.booleans(), st.booleans(), st.integers(1, 5))
def test_columns_send_what_their_rows_send(
    records: list[Record], with_headers: bool, with_partitions: bool, records_at_once: int
) -> None:
    kept = [
        row._replace(
            headers=row.headers if with_headers else (), partition=row.partition if with_partitions else None
        )
        for row in records
    ]
    columns = Columns(
        [row.value for row in kept],
        [row.key for row in kept],
        [row.headers for row in kept] if with_headers else None,
        [row.partition for row in kept] if with_partitions else None,
    )

    async def sent(given: Any) -> list[bytes]:
        world = World(Limits(produce_records=records_at_once))
        outcome = world.producing.put_many("out", given)
        await world.known()
        await asyncio.gather(outcome, return_exceptions=True)
        return [request.SerializeToString() for request in world.requests]

    async def both() -> None:
        assert await sent(columns) == await sent(kept)

    asyncio.run(both())


# --- everything together, against a model --------------------------------------------------------------------------

step = st.one_of(
    st.tuples(st.just("put"), st.sampled_from([b"good", BAD]), st.sampled_from(["a", "b"]), st.booleans()),
    st.tuples(st.just("many"), st.lists(st.sampled_from([b"good", BAD]), max_size=5), st.booleans(), st.booleans()),
    st.tuples(st.just("document"), st.sampled_from([b"good", BAD]), st.sampled_from(["a", "b"]), st.booleans()),
    st.tuples(
        st.just("document, many"), st.lists(st.sampled_from([b"good", BAD]), max_size=5), st.booleans(), st.booleans()
    ),
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("turn")),
)


class Played:
    """What a lambda does, and what has to come of it."""

    def __init__(self, records_at_once: int) -> None:
        self.world = World(Limits(produce_records=records_at_once))
        self.world.gate.set()
        self.documents = Outcomes(lambda _: None, lambda _: None)
        self.kept: list[tuple[Any, list[bytes]]] = []
        self.lost_before: int | None = None
        """So many checkpoints were called before a failure that nobody can receive."""
        self.checkpoints = 0

    async def step(self, one: Any) -> None:
        match one:
            case ("checkpoint",):
                if self.world.outcomes.admits(self.checkpoints):
                    self.world.passed.append(self.checkpoints)
                self.checkpoints += 1
            case ("turn",):
                await asyncio.sleep(0)
            case (kind, what, how, keeps):
                values = what if isinstance(what, list) else [what]
                if keeps:
                    self.kept.append((self.produced(kind, what, how), values))
                else:
                    self.produced(kind, what, how)
                    if not kind.startswith("document") and BAD in values and self.lost_before is None:
                        self.lost_before = self.checkpoints

    def produced(self, kind: str, what: Any, how: Any) -> Any:
        producing = self.world.producing
        before = producing.counting
        if kind.startswith("document"):
            producing.counting = self.documents
        try:
            if kind.endswith("many"):
                return producing.put_many("out", Columns(what) if how else map(Record, what))
            return self.world.put(what, how)
        finally:
            producing.counting = before

    async def look(self) -> None:
        """Receive each outcome that was kept."""
        while self.kept:
            outcome, values = self.kept.pop()
            found: Any = (await asyncio.gather(outcome, return_exceptions=True))[0]
            assert isinstance(found, ProduceError) == (BAD in values)
            if isinstance(found, ProduceError) and found.results:
                assert [isinstance(part, ProduceError) for part in found.results] == [one == BAD for one in values]


@settings(deadline=None)
@given(st.lists(step, max_size=30), st.integers(1, 4))
def test_no_checkpoint_passes_a_failure_and_all_else_passes(steps: list[Any], records_at_once: int) -> None:
    """What is kept is received in the end; what is not kept, and failed, ends the lambda. Documents fail alone."""

    async def played() -> Played:
        game = Played(records_at_once)
        for one in steps:
            await game.step(one)
        await game.world.producing.drained()
        await game.look()
        await asyncio.sleep(0)
        if game.world.outcomes.admits(game.checkpoints):
            game.world.passed.append(game.checkpoints)
        return game

    game = asyncio.run(played())
    world = game.world
    assert bool(world.failures) == (game.lost_before is not None)
    assert world.passed == sorted(world.passed)
    if game.lost_before is None:
        assert world.passed[-1] == game.checkpoints
    else:
        assert all(passed < game.lost_before for passed in world.passed)
    assert (world.outcomes.under_way, game.documents.under_way) == (0, 0)
