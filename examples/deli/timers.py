"""The deadlines of a sequencer. It has no clock: whoever runs it sends a ``Tick`` when the earliest one comes."""

from examples.deli.config import Config
from examples.deli.values import value


@value
class Timers:
    """Wall-clock deadlines in milliseconds; None: not running.

    Of those at the same time, the one that was started first goes first, as the service's do: with its own settings
    that is the one that takes longest, see `_deadlines`.
    """

    read_clients: int | None = None
    """Look for read clients that expired (DL-42). The only one that runs for ever."""
    activity: int | None = None
    """The document was silent (DL-41)."""
    noop: int | None = None
    """The gathering of noops ends (DL-33)."""
    checkpoint: int | None = None
    """Nothing came for a while: save the state (DL-51)."""
    op_idle: int | None = None
    op_max: int | None = None

    @classmethod
    def started(cls, config: Config, now: int, clients: bool) -> "Timers":
        """Those that run from the start."""
        events = config.op_event
        return cls(
            read_clients=now + config.read_client_idle_timer,
            activity=now + config.activity_timeout if clients else None,
            op_max=now + events.max_time if events.enable and events.max_time is not None else None,
        )

    @property
    def next_deadline(self) -> int | None:
        """When a ``Tick`` is due."""
        earliest = None
        for deadline in self._deadlines():
            if deadline is not None and (earliest is None or deadline < earliest):
                earliest = deadline
        return earliest

    def due(self, now: int) -> str | None:
        """The timer that comes first, if its time has come."""
        deadline = self.next_deadline
        return _NAMES[self._deadlines().index(deadline)] if deadline is not None and deadline <= now else None

    def handled(self, activity: int | None, checkpoint: int | None) -> "Timers":
        """A record was handled. As `replace`, which takes five times as long."""
        return Timers(self.read_clients, activity, self.noop, checkpoint, self.op_idle, self.op_max)

    def _deadlines(self) -> tuple[int | None, ...]:
        return self.read_clients, self.op_max, self.activity, self.op_idle, self.checkpoint, self.noop


_NAMES = ("read_clients", "op_max", "activity", "op_idle", "checkpoint", "noop")  # of `_deadlines`
