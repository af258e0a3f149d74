"""Runs one document's sequencer: feeds it records and the time, produces its outputs, saves its state, checkpoints.

Everything belongs to the event loop. Only ``close`` and the end of a corrupt document wait: a produced record is sent
at once, and a callback gets its outcome. A save waits for the records that were produced before it, and the
checkpoint moves when the save is confirmed.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from examples.deli.boxcar import Boxcar, boxcar_of, encode_boxcar, parse_boxcar
from examples.deli.checkpoints import Saves
from examples.deli.config import Config
from examples.deli.javascript import DEEPEST, Malformed, encode, parse
from examples.deli.messages import (
    Checkpoint,
    Close,
    Deltas,
    Document,
    Event,
    Failure,
    Input,
    Output,
    ProduceFailed,
    RawDeltas,
    Reason,
    Record,
    SaveState,
    Signal,
    Tick,
)
from examples.deli.sequencer import Sequencer
from examples.deli.settings import Topics
from examples.deli.state import State, load
from examples.deli.store import States, Stored, key_of
from sdk_python import CloseReason, Message, Produced, ProduceError
from sdk_python.document_router import CorruptDocument, IDocumentContext

log = logging.getLogger("examples.deli")

RETRY = 5.0
"""Seconds after which a failed save is tried again, if there is no newer one."""

Clock = Callable[[], int]
"""Milliseconds since the Unix epoch."""

Outcome = asyncio.Future[Produced]


def wall_clock() -> int:
    """The time for messages."""
    return time.time_ns() // 1_000_000


class Deli:
    """The lambda of one document."""

    __slots__ = (
        *("_again", "_clock", "_closed", "_confirmed", "_context", "_document", "_failed", "_mark", "_offset"),
        *("_record_key", "_saves", "_sequencer", "_settled", "_state_key", "_states", "_timer", "_topics"),
        *("_under_way", "_wakes_at", "_writing"),
    )

    def __init__(
        self, context: IDocumentContext, config: Config, topics: Topics, states: States, clock: Clock = wall_clock
    ) -> None:
        """``states`` are the partition's; the lambda reads its state there and keeps it up to date.

        Raises ``CorruptDocument`` when the stored value is not a state.
        """
        self._context = context
        self._topics = topics
        self._states = states
        self._clock = clock
        self._document = Document(context.tenant_id, context.document_id)
        # A lone surrogate, which JSON can hold, has no UTF-8; each id still needs bytes of its own.
        self._record_key = context.document_id.encode("utf-8", "surrogatepass")
        self._state_key = key_of(self._document, context.lease)
        state = _opened(states.get(self._place))
        self._saves = Saves(safe=state.log_offset)
        self._under_way: list[tuple[int, Outcome]] = []  # a deque has 700 bytes; most documents are idle
        """The produced records from the first unconfirmed one on, each with the offset of its source."""
        self._confirmed = 0
        """How many of all produced records are in Kafka, counted without a gap."""
        self._mark = 0
        """How many must be in Kafka before ``_saves.write`` is written."""
        self._writing = False
        self._again: asyncio.TimerHandle | None = None
        """The timer of the next attempt, after a save failed."""
        self._settled: asyncio.Event | None = None
        """Set when nothing is to be written any more; somebody waits for it."""
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0
        self._offset = state.log_offset
        self._failed = False
        self._closed = False
        self._sequencer = Sequencer(self._document, state, config, clock())
        self._act(self._sequencer.outputs, self._values(self._sequencer.outputs))

    def handler(self, message: Message) -> Awaitable[None] | None:
        """See `IPartitionLambda.handler`. Raises ``Malformed`` when the document is corrupt; the others continue."""
        try:
            outputs, values = self._decide(Record(message.offset, _boxcar_of(message)))
        except Malformed as error:
            return self._corrupt(error)
        except Exception as error:
            # A fault of ours. For the document it is the same: the state before must be saved first, or its numbers
            # would be given again.
            log.exception("%s: the record at offset %d is not understood", self._context, message.offset)
            malformed = Malformed(f"{type(error).__name__}: {error}")
            malformed.__cause__ = error
            return self._corrupt(malformed)
        self._do(outputs, values, message.offset)
        return None

    def close(self, reason: CloseReason) -> Awaitable[None] | None:
        """See `IPartitionLambda`. It waits for unsaved state, so that fewer records are delivered again."""
        self._end()
        if reason is CloseReason.ERROR or self._is_settled:
            self._closed = True
            return None
        return self._close()

    # ------------------------------------------------------------------------------------------ the sequencer

    def _feed(self, event: Input) -> None:
        """Feed the time, or a failed produce. An error here is no record's: the next lambda uses the saved state."""
        try:
            outputs, values = self._decide(event)
        except Exception as error:
            log.exception("%s: failed", self._context)
            self._give_up(error)
        else:
            self._do(outputs, values, self._offset)

    def _decide(self, event: Input) -> tuple[Sequence[Output], Sequence[bytes]]:
        """The outputs for ``event``, and the values of their records. If it raises, nothing was done."""
        before = self._sequencer.session
        outputs = self._sequencer.feed(event, self._clock())
        try:
            return outputs, self._values(outputs)
        except BaseException:
            self._sequencer.session = before
            raise

    def _do(self, outputs: Sequence[Output], values: Sequence[bytes], offset: int) -> None:
        """Handle the outputs. The state includes them: if this fails half-way, nothing may be saved any more."""
        self._offset = offset
        try:
            self._act(outputs, values)
        except Exception as error:
            log.exception("%s: not all of the record at offset %d was produced", self._context, offset)
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        self._settle()
        self._end()
        self._context.error(error, restart=True)

    def _tick(self) -> None:
        self._timer = None
        self._feed(Tick())

    def _values(self, outputs: Sequence[Output]) -> list[bytes]:
        """The values of the records among the outputs; all are made before the first record is produced."""
        values = []
        for output in outputs:
            match output:
                case Deltas():
                    values.append(self._boxcar(output.messages))
                case RawDeltas(message) | Signal(message):
                    values.append(self._boxcar((message,)))
                case _:
                    values.append(b"")
        return values

    def _boxcar(self, messages: tuple[dict[str, object], ...]) -> bytes:
        return encode_boxcar(messages, self._document.tenant_id, self._document.document_id)

    def _act(self, outputs: Sequence[Output], values: Sequence[bytes]) -> None:
        """Handle the outputs in their order; then ask the sequencer for its next deadline."""
        for output, value in zip(outputs, values, strict=True):
            match output:
                case Deltas():
                    self._produce(self._topics.deltas, value)
                case RawDeltas():
                    # In the document's own partition: it comes back as a record after those that are there.
                    self._produce(self._context.topic, value, self._context.partition)
                case Signal() if self._topics.signals is not None:
                    self._produce(self._topics.signals, value)
                case SaveState():
                    self._ask(output)
                case Checkpoint(offset):
                    self._saves, told = self._saves.told(offset)
                    self._tell(told)
                case Failure(error, restart, corrupt):
                    self._fail(error, restart, corrupt)
                case Event(name, detail):
                    log.debug("%s: %s %s", self._context, name, detail)
        self._set_timer()

    def _set_timer(self) -> None:
        """Each record moves a deadline further away: a timer that fires too early costs less than a new one."""
        deadline = self._sequencer.next_deadline
        if deadline is None or (self._timer is not None and self._wakes_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        seconds = max(0, deadline - self._clock()) / 1000
        self._timer = asyncio.get_running_loop().call_later(seconds, self._tick)
        self._wakes_at = deadline

    # --------------------------------------------------------------------------------------------- producing

    def _produce(self, topic: str, value: bytes, partition: int | None = None) -> None:
        outcome = self._put(topic, value, self._record_key, partition)
        self._under_way.append((self._offset, outcome))
        if len(self._under_way) == 1:
            outcome.add_done_callback(self._arrived)

    def _put(self, topic: str, value: bytes | None, key: bytes, partition: int | None) -> Outcome:
        try:
            outcome = self._context.produce(topic, value, key, (), partition)
        except (TypeError, ValueError) as error:  # a name that no topic can have, from the settings
            failed: Outcome = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed
        return asyncio.ensure_future(outcome)

    def _arrived(self, _: Outcome) -> None:
        """The outcome of the first record in flight is known, and mostly those of many after it: they went in one
        call.

        So only the first has a callback: one for each record would cost a call of the event loop for each.
        """
        count = 0
        for offset, outcome in self._under_way:
            if not outcome.done():
                outcome.add_done_callback(self._arrived)
                break
            error = _error_of(outcome)
            if error is not None:
                self._lost(offset, error)
                return
            count += 1
        del self._under_way[:count]
        self._confirmed += count
        self._write()

    def _lost(self, offset: int, error: BaseException) -> None:
        """A record was not written: no state that includes it is saved."""
        self._failed = True
        for _, outcome in self._under_way:
            outcome.add_done_callback(_error_of)  # nobody else asks for it
        self._under_way.clear()
        self._settle()
        if self._closed or _is_stale(error):
            # Nobody has to be told: the present owner of the partition handles this record again.
            self._end()
            return
        too_large = isinstance(error, ProduceError) and error.kind == "too_large"
        self._feed(ProduceFailed(str(error), offset, too_large))

    # ------------------------------------------------------------------------------------------------ saving

    @property
    def _place(self) -> tuple[str, str]:
        return self._document.tenant_id, self._document.document_id

    @property
    def _is_settled(self) -> bool:
        """Nothing is to be written, or nothing can be written."""
        return self._failed or (self._saves.write is None and not self._writing)

    def _ask(self, save: SaveState) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._saves.write is None:
            self._mark = self._confirmed + len(self._under_way)
        self._saves = self._saves.ask(save)
        self._write()

    def _write(self) -> None:
        """Write the state to save, if all records that were produced before it are in Kafka.

        It must not be written earlier: its numbers would count as given, and could be lost. A clearing (DL-56) writes
        the state too: there is no summary here that could replace it.
        """
        save = self._saves.write
        if save is None or self._writing or self._failed or self._closed or self._confirmed < self._mark:
            return
        self._writing = True
        text = encode(save.state.to_json(save.time))
        outcome = self._put(self._topics.state, text, self._state_key, self._context.partition)
        outcome.add_done_callback(partial(self._written, save, text))

    def _written(self, save: SaveState, text: bytes, outcome: Outcome) -> None:
        self._writing = False
        error = _error_of(outcome)
        if error is None:
            self._remember(text, save.state.log_offset)
            self._saves, told = self._saves.saved()
            self._tell(told)
        else:
            log.warning("%s: its state is not saved: %s", self._context, error)
            self._saves = self._saves.failed()
            if self._saves.write is None and not self._closed and not _is_stale(error):
                # Else the checkpoint would not move until the next record, which may never come.
                self._again = asyncio.get_running_loop().call_later(RETRY, self._ask, save)
        if self._saves.write is None:
            self._settle()
        else:
            self._mark = self._confirmed + len(self._under_way)
            self._write()

    def _remember(self, text: bytes, offset: int) -> None:
        """It is the stored state of this document now; its older states are removed from Kafka."""
        before = self._states.get(self._place)
        self._states[self._place] = Stored(text.decode(), offset, (self._state_key,))
        for key in before.keys if before is not None else ():
            if key != self._state_key:
                # An old state that stays does no harm: the furthest one counts, and the next lease removes it.
                self._put(self._topics.state, None, key, self._context.partition).add_done_callback(_error_of)

    def _tell(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None:
            self._context.checkpoint(checkpoint.offset)

    # --------------------------------------------------------------------------------------------------- ends

    def _fail(self, error: str, restart: bool, corrupt: int | None) -> None:
        self._end()
        if corrupt is None:
            self._context.error(error, restart=restart)
            return
        # Later numbers may be in Kafka, and this record's never will be: the document must not be opened
        # from the state before them, or these numbers would be given to others.
        text = encode({"corrupt": error, "logOffset": corrupt})
        outcome = self._put(self._topics.state, text, self._state_key, self._context.partition)
        outcome.add_done_callback(partial(self._given_up, error, text, corrupt))

    def _given_up(self, error: str, text: bytes, offset: int, outcome: Outcome) -> None:
        if (unsaid := _error_of(outcome)) is not None:
            self._context.error(f"{error}; and that could not be stored: {unsaid}", restart=True)
            return
        self._remember(text, offset)
        self._context.error(error, restart=False, offset=offset)

    def _corrupt(self, error: Malformed) -> Awaitable[None]:
        """Raise ``error`` when the state before the record is saved.

        All records of a corrupt document count as done. If they were further than its state, it would give numbers a
        second time when it is opened again.
        """
        state = self._sequencer.session.state
        self._end()
        if state.log_offset > self._saves.safe and not self._failed:
            self._ask(SaveState(Reason.EVERY_MESSAGE, state, None, self._clock()))
        if self._saves.safe >= state.log_offset:
            raise error
        return self._corrupt_when_saved(error, state)

    async def _corrupt_when_saved(self, error: Malformed, state: State) -> None:
        await self._until_settled()
        if self._saves.safe >= state.log_offset:
            raise error
        self._context.error(f"corrupt ({error}), and the state before that is not saved", restart=True)

    async def _close(self) -> None:
        try:
            await self._until_settled()
        finally:
            self._closed = True

    async def _until_settled(self) -> None:
        while not self._is_settled:
            self._settled = asyncio.Event()
            await self._settled.wait()

    def _settle(self) -> None:
        if self._settled is not None:
            self._settled.set()

    def _end(self) -> None:
        """No outputs any more, except requested saves."""
        self._sequencer.feed(Close(), self._clock())
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()
        self._timer = self._again = None


def _opened(stored: Stored | None) -> State:
    if stored is None:
        return load(None)
    try:
        content = parse(stored.text)
        if isinstance(content, Mapping) and "corrupt" in content:
            raise CorruptDocument(f"given up for good at offset {content.get('logOffset')}: {content['corrupt']}")
        return State.from_json(content)
    except Malformed as error:
        # A fresh start would give numbers a second time.
        raise CorruptDocument(f"its stored state cannot be read: {error}") from error


def _boxcar_of(message: Message) -> Boxcar:
    """The value as the router parsed it to find the document, if it did."""
    value = message.value or b""
    # Removed from the message: the router keeps it until it is saved, and ten thousand parsed records are large.
    own = getattr(message, "__dict__", None)
    parsed = own.pop("boxcar", None) if own else None
    # The router accepts NaN and Infinity, which are not JSON, and does not say how deep the value is nested.
    if parsed is None or b"NaN" in value or b"Infinity" in value or _may_be_deep(value):
        return parse_boxcar(value)
    return boxcar_of(parsed)


def _may_be_deep(value: bytes) -> bool:
    """Whether this JSON may be nested deeper than `DEEPEST`. Each level has two brackets, so a short one cannot."""
    return len(value) > 2 * DEEPEST and value.count(b"[") + value.count(b"{") > DEEPEST


def _error_of(outcome: Outcome) -> BaseException | None:
    return asyncio.CancelledError() if outcome.cancelled() else outcome.exception()


def _is_stale(error: BaseException) -> bool:
    return isinstance(error, ProduceError) and error.kind == "stale_lease"
