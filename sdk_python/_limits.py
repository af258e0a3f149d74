"""What the sidecar takes in one call, as it says in its Welcome."""

from dataclasses import dataclass

from .protocol import lambda_pb2 as pb


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults are for a sidecar that does not tell."""

    request_bytes: int = 1024 * 1024
    """Of one message."""
    checkpoint_entries: int = 10_000
    produce_records: int = 10_000
    produce_topics: int = 100
    """Different ones in a call."""

    @classmethod
    def told(cls, limits: pb.Limits) -> "Limits":
        """Those of a Welcome; the default where it has 0, which means that the sidecar does not tell."""
        default = cls()
        return cls(
            limits.max_request_bytes or default.request_bytes,
            limits.max_checkpoint_entries or default.checkpoint_entries,
            limits.max_produce_records or default.produce_records,
            limits.max_produce_topics or default.produce_topics,
        )

    @property
    def produce_bytes(self) -> int:
        """Of one call, about: it leaves room for what the sizes of records do not count."""
        return self.request_bytes * 900 // 1024

    @property
    def record_bytes(self) -> int:
        """Of one record: it leaves room for the other fields of a request that carries it alone."""
        return self.request_bytes - 4096
