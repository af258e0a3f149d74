"""The session of a sequencer, and the turns that change it."""

from collections.abc import Mapping
from dataclasses import field, replace

from examples.deli.boxcar import Json, RawOperation
from examples.deli.checkpoints import Progress
from examples.deli.clients import Reader
from examples.deli.config import Config
from examples.deli.javascript import UNDEFINED, stringify
from examples.deli.membership import added, announces, join_signal, leave_signal, without
from examples.deli.messages import Deltas, Document, Event, Output, RawDeltas, Reason, SaveState, Signal
from examples.deli.noops import Send
from examples.deli.state import State, next_hash
from examples.deli.ticket import Nacked, Sequenced, Signalled, ticket
from examples.deli.timers import Timers
from examples.deli.values import value


@value
class Session:
    """A state, and the data that is lost when the process ends."""

    document: Document
    config: Config
    state: State
    timers: Timers
    progress: Progress
    readers: Mapping[str, Reader] = field(default_factory=dict)
    ops_since_event: int = 0
    last_type: str | None = None
    """The type of the last message that was sequenced, or would have been."""
    clear_cache: bool = False
    """The last message that had an effect asked to clear the stored state."""
    closed: bool = False


class Turn:
    """One step of a session, at one time: it starts from a session and gathers the changes and the outputs."""

    def __init__(self, session: Session, now: int) -> None:
        self.config = session.config
        self.document = session.document
        self.state = session.state
        self.readers = session.readers
        self.timers = session.timers
        self.progress = session.progress
        self.ops_since_event = session.ops_since_event
        self.last_type = session.last_type
        self.clear_cache = session.clear_cache
        self.now = now
        self.outputs: list[Output] = []
        self.sequenced = 0
        """Messages that got a number in this turn."""
        self._session = session
        self._batch: list[Json] = []

    def end(self) -> tuple[Session, list[Output]]:
        """The session after this turn, and the outputs."""
        session = Session(
            self.document,
            self.config,
            self.state,
            self.timers,
            self.progress,
            self.readers,
            self.ops_since_event,
            self.last_type,
            self.clear_cache,
            self._session.closed,
        )
        return session, self.outputs

    def set_timer(self, name: str, deadline: int | None) -> None:
        """Start a timer (again if it runs), or stop it."""
        if getattr(self.timers, name) != deadline:
            self.timers = replace(self.timers, **{name: deadline})

    # -- one operation -------------------------------------------------------------------------------------------

    def sequence(self, raw: RawOperation) -> None:
        """Give an operation its ticket, and do what the rules say after that (DL-30 to DL-38)."""
        done = ticket(self.state, self.readers, raw, self.config, self.document, self.now)
        self.state, self.readers = done.state, done.readers
        for event in done.events:
            self._tell(event)
        match done.outcome:
            case Sequenced() as outcome:
                self.clear_cache, self.last_type = outcome.clear_cache, raw.type
                self._after_ticket(raw)
                self._send(raw, outcome)
            case Nacked(message):
                self.clear_cache = False
                self._deltas(message)
            case Signalled(message):
                self.clear_cache = False
                self._signal(message)

    def _after_ticket(self, raw: RawOperation) -> None:
        if raw.type != "leave":  # a leave must not cause leaves (DL-30)
            self.evict_idle_client(raw.timestamp)
        told = raw.type in {"noClient", "control"} or self.config.disable_no_client_message
        if self.state.no_active_clients and not told:
            self.to_itself("noClient")  # DL-32: before the message that was the last

    def _send(self, raw: RawOperation, outcome: Sequenced) -> None:
        if outcome.send is Send.NEVER:
            return
        self.set_timer("noop", None)  # DL-33: this message sends the minimum, or the timer starts anew
        if outcome.send is Send.LATER:
            if not self.state.no_active_clients:
                self.set_timer("noop", self.now + self.config.no_op_consolidation_timeout)
            return
        operation, last_hash = outcome.operation, self.state.last_hash
        if self.config.enable_op_hashing:
            last_hash = next_hash(operation, self.state.last_hash)
            operation["expHash1"] = last_hash  # made for this message alone
        if raw.type == "summarize":
            self._tell(Event("summarizeMessage", operation))
        self._deltas(self.document.sequenced(operation))
        self.sequenced += 1
        # DL-34
        self.state = self.state.told(last_hash, operation["minimumSequenceNumber"])
        if announces(self.config, raw.type, operation.get("serverMetadata")):
            self._announce(raw.type, operation, outcome)

    def _announce(self, type_: str, operation: Json, outcome: Sequenced) -> None:
        """The signal of a write client's join or leave (DL-37)."""
        reference = operation["sequenceNumber"] - 1
        if type_ == "join":
            self.state, signal = join_signal(self.state, outcome.data, reference, self.document, self.now)
            self.readers = added(self.readers, outcome.data, self.config, self.now)
        else:
            self.state, signal = leave_signal(self.state, outcome.data, reference, self.document, self.now)
            self.readers = without(self.readers, outcome.data)
        self._signal(signal)

    # -- what comes out ------------------------------------------------------------------------------------------

    def _deltas(self, message: Json) -> None:
        if self.config.maintain_batches:
            self._batch.append(message)
        else:
            self.outputs.append(Deltas((message,)))

    def end_batch(self) -> None:
        """All messages of one boxcar are sent in one boxcar (DL-35)."""
        if self._batch:
            self.outputs.append(Deltas(tuple(self._batch)))
            self._batch = []

    def _signal(self, message: Json) -> None:
        if self.config.signals:
            self.outputs.append(Signal(message))

    def to_itself(self, type_: str, **extra: object) -> None:
        """Send a message of the service through rawdeltas, where it is ordered among the others."""
        message = self.document.raw(type_, self.now, self.config.enable_traces, **extra)
        self.outputs.append(RawDeltas(message))

    def send_away(self, client_id: str, server_metadata: object = UNDEFINED) -> None:
        """Send a leave for a client."""
        metadata = {} if server_metadata is UNDEFINED else {"serverMetadata": server_metadata}
        self.to_itself("leave", data=stringify(client_id), **metadata)

    def evict_idle_client(self, time: int) -> None:
        """Send a leave for the client that holds the minimum, if it was silent for too long (DL-31).

        Only one client is checked. The leave is sent again with every message until it has come back.
        """
        client = self.state.clients.lowest
        if client and client.can_evict and time - client.last_update > self.config.client_timeout:
            self.send_away(client.client_id, client.server_metadata)

    def save(self, reason: Reason) -> None:
        """Ask for a save of the present state (DL-50)."""
        self.set_timer("checkpoint", None)
        self.outputs.append(SaveState(reason, self.state, self.progress.kafka, self.now))
        self.progress = self.progress.saved(self.now)

    def _tell(self, event: Event) -> None:
        self.outputs.append(event)
        if event.name == "dsn" and self.config.op_event.enable:
            self.op_event("updatedDurableSequenceNumber", force=True)

    def tell_all(self, events: list[Event]) -> None:
        """Emit an event."""
        for event in events:
            self._tell(event)

    def op_event(self, kind: str, force: bool = False) -> None:
        """Emit an event with the number of operations since the last one, if there were any (DL-44)."""
        count = self.ops_since_event
        if not count and not force:
            return
        self.outputs.append(Event("opEvent", (kind, self.state.sequence_number, count)))
        self.ops_since_event = 0
        if self.config.op_event.max_time is not None:
            self.set_timer("op_max", self.now + self.config.op_event.max_time)
