"""What the sidecar takes in one call, and how long it waits, as its Welcome says."""

from dataclasses import dataclass, field
from typing import Final, Literal

from .protocol import lambda_pb2 as pb

COMMITTED: Final = "committed"
EXACTLY_ONCE: Final = "exactly-once"
"""Capabilities of the Offer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits. The defaults hold for a sidecar that does not say them."""

    request_bytes: int = 1024 * 1024
    """Bytes of one request."""
    checkpoint_entries: int = 10_000
    produce_records: int = 10_000
    produce_topics: int = 100
    """Different topics in one call."""
    close_timeout: float = 10.0
    """Seconds from an Error to Closed."""

    @classmethod
    def told(cls, limits: pb.Limits) -> "Limits":
        """Return the limits of a Welcome. 0 there means that the sidecar does not say: then it is the default."""
        default = cls()
        return cls(
            limits.max_request_bytes or default.request_bytes,
            limits.max_checkpoint_entries or default.checkpoint_entries,
            limits.max_produce_records or default.produce_records,
            limits.max_produce_topics or default.produce_topics,
            limits.close_timeout_ms / 1000 or default.close_timeout,
        )

    @property
    def produce_bytes(self) -> int:
        """Bytes of the records in one call, about. It leaves room for what the sizes of records do not count."""
        return self.request_bytes * 900 // 1024

    @property
    def record_bytes(self) -> int:
        """Bytes of one record. It leaves room for the other fields of a request that carries it alone."""
        return self.request_bytes - 4096


@dataclass(frozen=True, slots=True)
class Terms:
    """What a Welcome says for the lease that follows it. The defaults hold for a sidecar that does not say them."""

    window: int = 1000
    """How many messages may be outstanding."""
    window_bytes: int = 16 * 1024 * 1024
    """How many bytes of them."""
    limits: Limits = field(default_factory=Limits)
    exactly_once: bool = False
    """What the lambda produces becomes visible together with the checkpoint that covers it."""
    max_state_bytes: int = 0
    """Of the state that goes with a checkpoint; 0: the sidecar keeps none."""
    tells_commits: bool = False
    """The sidecar tells what it has committed in Kafka."""

    @property
    def guarantee(self) -> Literal["at-least-once", "exactly-once"]:
        """As the config of the sidecar names it."""
        return "exactly-once" if self.exactly_once else "at-least-once"

    @classmethod
    def told(cls, welcome: pb.Welcome) -> "Terms":
        """Return the terms of a Welcome."""
        return cls(
            welcome.window_messages or cls().window,
            welcome.window_bytes or cls().window_bytes,
            Limits.told(welcome.limits),
            welcome.guarantee == pb.GUARANTEE_EXACTLY_ONCE,
            welcome.max_state_bytes,
            COMMITTED in welcome.capabilities,
        )
