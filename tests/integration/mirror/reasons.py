"""Cases that have no mirror, and why."""

from __future__ import annotations

from typing import Final

_CLIENT = "it is about what a client does by itself: the sidecar sends nothing that it does not send elsewhere"
_NEWER = "the kit sends what no sidecar of today sends"
_BROKER = (
    "the embedded broker has no such records; what the sidecar makes of them is tested on Kafka, in test_gaps.py, "
    "and in tests/unit/records"
)
_TLS = "TLS is gRPC's own; that the sidecar asks for it is tested in tests/unit/server/test_access.py"

WITHOUT: Final[dict[str, str]] = {
    "512-partitions": "the same frames as of `many-partitions`, more of them",
    "append-time": _BROKER,
    "back-pressure": _CLIENT,
    "big-offsets": _BROKER,
    "bigger-offsets": _BROKER,
    "gaps": _BROKER,
    "hung-sidecar": _CLIENT,
    "mutual-tls": _TLS,
    "no-proxy": _CLIENT,
    "no-timestamps": _BROKER,
    "quiet-for-long": _CLIENT,
    "secrets-stay-secret": _CLIENT,
    "sigterm-while-loading": _CLIENT,
    "sigterm-without-sidecar": _CLIENT,
    "slow-reader": _CLIENT,
    "starts-before-sidecar": _CLIENT,
    "tls": _TLS,
    "tls-foreign-authority": _TLS,
    "unknown-outcome": _NEWER,
    "unknown-produce-outcome": _NEWER,
    "unknown-reason": _NEWER,
    "unspecified-checkpoint": _NEWER,
    "unspecified-outcome": _NEWER,
}
