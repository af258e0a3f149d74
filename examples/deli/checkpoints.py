"""When the state is saved and the place in Kafka moves on, and in which order."""

from examples.deli.config import Config
from examples.deli.messages import Checkpoint, Reason, SaveState
from examples.deli.values import value


@value
class Progress:
    """How far the records are handled, and since when the state was not saved."""

    kafka: int | None = None
    """The place in Kafka that the state of now allows. None: none new."""
    previous: int | None = None
    """The last record handled while clients were connected."""
    records: int = 0
    saved_at: int = 0

    def handled(self, offset: int, no_active_clients: bool, records: int = 1) -> "Progress":
        """A record is done; ``records``: how many more than were saved, none for one that was skipped.

        While clients are connected the place in Kafka stays one record behind (DL-49): after a crash the document is
        opened again by that record, and somebody sees to it that its clients leave.
        """
        kafka, previous = (offset, None) if no_active_clients else (self.previous, offset)
        return Progress(kafka, previous, self.records + records, self.saved_at)

    def saved(self, now: int) -> "Progress":
        """The state is on its way."""
        return Progress(self.kafka, self.previous, 0, now)

    def due(
        self, config: Config, now: int, *, clear_cache: bool, last_is_no_client: bool, no_active_clients: bool
    ) -> Reason | None:
        """Why the state must be saved after this record, if it must (DL-51)."""
        heuristics = config.checkpoint_heuristics
        if not heuristics.enable:
            return Reason.EVERY_MESSAGE
        if self.records >= heuristics.max_messages:
            return Reason.MAX_MESSAGES
        if now - self.saved_at >= heuristics.max_time:
            return Reason.MAX_TIME
        if clear_cache:
            return Reason.CLEAR_CACHE
        return Reason.NO_CLIENTS if last_is_no_client and no_active_clients else None


@value
class Saves:
    """One save at a time, and the place in Kafka after it (DL-52 to DL-55).

    The caller makes ``write``'s save when all outputs before it are in Kafka, and tells how it ended.
    """

    write: SaveState | None = None
    """The save that is being made."""
    waiting: SaveState | None = None
    """The newest one asked for meanwhile; older ones are in it."""
    sent: int = -1
    """The last place in Kafka that was told."""
    safe: int = -1
    """The log offset of what is stored: at the start, that of the state that was loaded."""

    def ask(self, save: SaveState) -> "Saves":
        """A save is due."""
        if self.write is None:
            return Saves(save, self.waiting, self.sent, self.safe)
        return Saves(self.write, save, self.sent, self.safe)

    def saved(self) -> tuple["Saves", Checkpoint | None]:
        """It was made: now the place in Kafka may move. It never moves back (DL-54)."""
        assert self.write is not None
        offset = self.write.kafka_offset
        return Saves(self.waiting, None, self.sent, self.write.state.log_offset).told(offset)

    def failed(self) -> "Saves":
        """It was not made: the place in Kafka stays, and the next save tries again (DL-55)."""
        return Saves(self.waiting, None, self.sent, self.safe)

    def told(self, offset: int | None) -> tuple["Saves", Checkpoint | None]:
        """The checkpoint of ``offset``, if it is news and in what is stored."""
        if offset is None or not self.sent < offset <= self.safe:
            return self, None
        return Saves(self.write, self.waiting, offset, self.safe), Checkpoint(offset)
