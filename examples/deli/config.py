"""The settings of a sequencer, with the defaults of the service. All times are milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

SUMMARY_NACK: Mapping[str, Any] = {
    "code": 429,
    "type": "ThrottlingError",
    "retryAfter": 10,
    "message": "Submit a summary before inserting additional operations",
}


@dataclass(frozen=True, slots=True)
class CheckpointHeuristics:
    """When the state is saved (DL-51). Not enabled: after every record."""

    enable: bool = False
    idle_time: int = 10_000
    max_time: int = 60_000
    max_messages: int = 500


@dataclass(frozen=True, slots=True)
class SummaryNacks:
    """Refuse operations when the last summary is too old (DL-39)."""

    enable: bool = False
    check_on_startup: bool = False
    max_ops: int = 5_000
    nack_content: Mapping[str, Any] = field(default_factory=lambda: dict(SUMMARY_NACK))


@dataclass(frozen=True, slots=True)
class OpEvents:
    """Emit an event with the number of sequenced operations (DL-44)."""

    enable: bool = False
    idle_time: int | None = 15_000
    max_time: int | None = 300_000
    max_ops: int | None = 1_500


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a sequencer."""

    client_timeout: int = 300_000
    """A client that was silent for longer must leave (DL-31, DL-42)."""
    activity_timeout: int = 30_000
    """A document that was silent for this long gets one noop (DL-41)."""
    read_client_idle_timer: int = 60_000
    no_op_consolidation_timeout: int = 250
    """How long client noops are gathered before their minimum sequence number is sent (DL-33)."""
    enable_traces: bool = True
    enable_op_hashing: bool = True
    enable_nack_messages: bool = True
    enable_auto_dsn_update: bool = False
    """A summaryAck moves the durable sequence number by itself (DL-26)."""
    enable_write_client_signals: bool = False
    enable_leave_op_no_client_server_metadata: bool = False
    """Mark the leave of the last client (DL-38)."""
    disable_no_client_message: bool = False
    maintain_batches: bool = False
    """Produce one record for each consumed record, instead of one for each message (DL-35)."""
    check_for_idle_clients_on_startup: bool = False
    kafka_checkpoint_on_reprocessing_op: bool = True
    signals: bool = False
    """There is a topic for signals."""
    checkpoint_heuristics: CheckpointHeuristics = CheckpointHeuristics()
    summary_nack_messages: SummaryNacks = SummaryNacks()
    op_event: OpEvents = OpEvents()

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Config":
        """From a mapping with the names of the service's own configuration, such as ``clientTimeout``."""
        groups: dict[str, type[Any]] = {
            "checkpoint_heuristics": CheckpointHeuristics,
            "summary_nack_messages": SummaryNacks,
            "op_event": OpEvents,
        }
        values = _named(cls, settings)
        for name, group in groups.items():
            if name in values:
                values[name] = group(**_named(group, values[name], f"{_camel(name)}."))
        return cls(**values)


def _named(group: type[Any], settings: Any, where: str = "") -> dict[str, Any]:
    if not isinstance(settings, Mapping):
        raise ValueError(f"{where.rstrip('.') or 'sequencer'}: expected a mapping, got {settings!r}")  # noqa: TRY004 - one error for all that is wrong with settings
    known = {_camel(entry.name): entry.name for entry in fields(group)}
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}: {group.__name__} knows {', '.join(known)}")
    defaults = group()
    values = {}
    for name, value in settings.items():
        default = getattr(defaults, known[name])
        if isinstance(default, bool):
            expected = None if isinstance(value, bool) else "true or false"
        elif isinstance(default, int):
            whole = isinstance(value, int) and not isinstance(value, bool)
            least = 1 if name == "readClientIdleTimer" else 0
            none = value is None and name in _MAY_BE_NONE.get(group, ())
            expected = None if none or (whole and value >= least) else f"a whole number from {least} on"
        else:
            expected = None  # a group of its own, or free content
        if expected is not None:
            raise ValueError(f"{where}{name}: expected {expected}, got {value!r}")
        values[known[name]] = value
    return values


_MAY_BE_NONE: Mapping[type[Any], frozenset[str]] = {OpEvents: frozenset({"idleTime", "maxTime", "maxOps"})}

# Words that the service writes in capitals inside a name.
_CAPITALS = {"dsn": "DSN"}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(_CAPITALS.get(word, word.capitalize()) for word in rest)
