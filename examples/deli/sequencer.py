"""The sequencer of one document: records and the time in, outputs out. No I/O, no clock, no shared state.

``start`` and ``step`` are functions of a session, an input and the time. A session never changes: when a step raises
``Malformed``, the session before it still stands, and nothing of the record was done.
"""

from dataclasses import replace

from examples.deli.checkpoints import Progress
from examples.deli.config import Config
from examples.deli.messages import (
    Checkpoint,
    Close,
    Document,
    Event,
    Failure,
    Input,
    Output,
    ProduceFailed,
    Reason,
    Record,
)
from examples.deli.session import Session, Turn
from examples.deli.state import State
from examples.deli.summaries import begin_summary_nacks, end_summary_nacks
from examples.deli.timers import Timers


def start(document: Document, state: State, config: Config, now: int) -> tuple[Session, list[Output]]:
    """A session from a loaded state."""
    events: list[Event] = []
    if config.summary_nack_messages.check_on_startup:
        state, events = end_summary_nacks(state, config)
    session = Session(
        document,
        config,
        state,
        timers=Timers.started(config, now, clients=not state.no_active_clients),
        progress=Progress(saved_at=now),
        # An earlier session may have sequenced operations without an event (DL-44); no summary has them.
        ops_since_event=max(state.sequence_number - state.durable_sequence_number, 0)
        if config.op_event.enable
        else 0,
    )
    turn = Turn(session, now)
    turn.tell_all(events)
    if config.check_for_idle_clients_on_startup:  # DL-43
        turn.evict_idle_client(now)
    return turn.end()


def step(session: Session, event: Input, now: int) -> tuple[Session, list[Output]]:
    """The session after ``event``, and its outputs in order.

    Raises ``Malformed`` when a record cannot be understood (DL-6).
    """
    if session.closed:  # DL-45
        return session, []
    if isinstance(event, Record):
        if event.offset <= session.state.log_offset:
            return _skip(session, event.offset)
        return _handle(session, event, now)
    match event:
        case ProduceFailed():
            return _fail(session, event)
        case Close():
            return replace(session, closed=True, timers=Timers()), []
    return _tick(session, now)


class Sequencer:
    """Holds the present session, for the caller."""

    def __init__(self, document: Document, state: State, config: Config, now: int) -> None:
        self.session, self.outputs = start(document, state, config, now)
        """``outputs`` are those of the start."""

    @property
    def next_deadline(self) -> int | None:
        """When a ``Tick`` is due, in milliseconds."""
        return self.session.timers.next_deadline

    def feed(self, event: Input, now: int) -> list[Output]:
        """The outputs for ``event``."""
        self.session, outputs = step(self.session, event, now)
        return outputs


def _skip(session: Session, offset: int) -> tuple[Session, list[Output]]:
    """A record that the state already includes has no output (DL-46); the checkpoint may move (DL-47).

    After a pause that rewinds, a record of this session may come again too, and its state may not be saved yet:
    ``Saves.told`` knows that, and holds the checkpoint back.
    """
    progress = session.progress.handled(offset, session.state.no_active_clients, records=0)
    moves = session.config.kafka_checkpoint_on_reprocessing_op
    outputs: list[Output] = [Checkpoint(progress.kafka)] if moves and progress.kafka is not None else []
    return replace(session, progress=progress), outputs


def _handle(session: Session, record: Record, now: int) -> tuple[Session, list[Output]]:
    turn = Turn(session, now)
    # DL-48: first, so that all messages of this turn have it.
    turn.state = turn.state.handling(record.offset)
    for raw in record.boxcar.operations():
        turn.sequence(raw)
    turn.end_batch()
    no_active_clients = turn.state.no_active_clients
    turn.progress = turn.progress.handled(record.offset, no_active_clients)
    last_is_no_client = turn.last_type == "noClient"
    if last_is_no_client:
        turn.tell_all([Event("noClient")])
    reason = turn.progress.due(
        session.config,
        now,
        clear_cache=turn.clear_cache,
        last_is_no_client=last_is_no_client,
        no_active_clients=no_active_clients,
    )
    turn.timers = turn.timers.handled(
        activity=None if no_active_clients else now + session.config.activity_timeout,  # DL-41
        checkpoint=now + session.config.checkpoint_heuristics.idle_time if reason is None else None,
    )
    if turn.sequenced:
        _count(turn)
    if reason is not None:
        turn.save(reason)
    return turn.end()


def _count(turn: Turn) -> None:
    """After a boxcar with sequenced messages: is a summary overdue (DL-39), and is an event due (DL-44)?"""
    if turn.config.summary_nack_messages.enable:
        turn.state, events = begin_summary_nacks(turn.state, turn.config)
        turn.tell_all(events)
    settings = turn.config.op_event
    if not settings.enable:
        return
    if settings.idle_time is not None:
        turn.set_timer("op_idle", turn.now + settings.idle_time)
    if settings.max_ops is not None:
        turn.ops_since_event += turn.sequenced
        if turn.ops_since_event > settings.max_ops:
            turn.op_event("maxOps")


def _tick(session: Session, now: int) -> tuple[Session, list[Output]]:
    turn = Turn(session, now)
    while name := turn.timers.due(now):
        deadline = getattr(turn.timers, name)
        turn.set_timer(name, None)
        match name:
            case "noop" | "activity":
                if not turn.state.no_active_clients:
                    turn.to_itself("noop")  # when it comes back, the minimum and idle clients are checked
            case "read_clients":
                _expire_readers(turn)
                missed = (now - deadline) // session.config.read_client_idle_timer
                turn.set_timer(name, deadline + (missed + 1) * session.config.read_client_idle_timer)
            case "checkpoint":
                turn.save(Reason.IDLE_TIME)
            case "op_idle":
                turn.op_event("idle")
            case "op_max":
                turn.op_event("maxTime")
    return turn.end()


def _expire_readers(turn: Turn) -> None:
    """Send leaves for read clients that nobody extended (DL-42)."""
    for client_id, reader in turn.readers.items():
        if reader.mode == "read" and reader.expiry < turn.now:
            turn.send_away(client_id)


def _fail(session: Session, failed: ProduceFailed) -> tuple[Session, list[Output]]:
    """No outputs any more: a save would contain numbers that nobody received (DL-60, DL-61)."""
    hopeless = session.config.maintain_batches and failed.too_large
    failure = Failure(failed.error, restart=not hopeless, corrupt=failed.offset if hopeless else None)
    return replace(session, closed=True, timers=Timers()), [failure]
