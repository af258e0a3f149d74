"""When the state is saved, how far the records are checkpointed, and in which order."""

from examples.deli.config import Config
from examples.deli.messages import Checkpoint, Reason, SaveState
from examples.deli.values import value


@value
class Progress:
    """How far the records are handled, and how much was handled since the last save."""

    kafka: int | None = None
    """The checkpoint that the present state allows. None: no new one."""
    previous: int | None = None
    """The last record handled while clients were connected."""
    records: int = 0
    saved_at: int = 0

    def handled(self, offset: int, no_active_clients: bool, records: int = 1) -> "Progress":
        """A record is done. ``records`` is how much it adds to the unsaved records: 0 if it was skipped.

        While clients are connected, the checkpoint is the record before (DL-49): after a crash the last record opens
        the document again, so that its clients are made to leave.
        """
        kafka, previous = (offset, None) if no_active_clients else (self.previous, offset)
        return Progress(kafka, previous, self.records + records, self.saved_at)

    def saved(self, now: int) -> "Progress":
        """The state is being saved."""
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
    """One save at a time, and the checkpoint after it (DL-52 to DL-55).

    The caller does the save ``write`` when all outputs before it are in Kafka, and reports how it ended.
    """

    write: SaveState | None = None
    """The save to do now."""
    waiting: SaveState | None = None
    """The newest save that came meanwhile; it includes older ones."""
    sent: int = -1
    """The last checkpoint."""
    safe: int = -1
    """The log offset of the stored state; at the start, of the loaded state."""

    def ask(self, save: SaveState) -> "Saves":
        """A save is due."""
        if self.write is None:
            return Saves(save, self.waiting, self.sent, self.safe)
        return Saves(self.write, save, self.sent, self.safe)

    def saved(self) -> tuple["Saves", Checkpoint | None]:
        """The save is done: now the checkpoint may move. It never moves back (DL-54)."""
        assert self.write is not None
        offset = self.write.kafka_offset
        return Saves(self.waiting, None, self.sent, self.write.state.log_offset).told(offset)

    def failed(self) -> "Saves":
        """The save failed: the checkpoint stays, and the next save tries again (DL-55)."""
        return Saves(self.waiting, None, self.sent, self.safe)

    def told(self, offset: int | None) -> tuple["Saves", Checkpoint | None]:
        """The checkpoint of ``offset``, if it is new and the stored state includes it."""
        if offset is None or not self.sent < offset <= self.safe:
            return self, None
        return Saves(self.write, self.waiting, offset, self.safe), Checkpoint(offset)
