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

_NO_METADATA = (
    "the embedded broker keeps no metadata of a commit, and so no state; the sidecar's part is tested on Kafka"
)
_NO_TRANSACTIONS = "the embedded broker has no transactions; the sidecar's part is tested on Kafka"

WITHOUT: Final[dict[str, str]] = {
    "512-partitions": "the same frames as of `many-partitions`, more of them",
    "aborted": _NO_TRANSACTIONS,
    "aborted-commit": _NO_TRANSACTIONS,
    "append-time": _BROKER,
    "back-pressure": _CLIENT,
    "big-offsets": _BROKER,
    "bigger-offsets": _BROKER,
    "checkpoint-alone": _NO_TRANSACTIONS,
    "checkpoint-before-records": _NO_TRANSACTIONS,
    "checkpoint-waits-for-held": _NO_TRANSACTIONS,
    "commit-beyond-delivered": _NO_TRANSACTIONS,
    "commit-by-parts": _NO_TRANSACTIONS,
    "commit-in-drain": _NO_TRANSACTIONS,
    "commit-is-busy": _NO_TRANSACTIONS,
    "commit-never-answered": _NO_TRANSACTIONS,
    "committed-in-drain": _CLIENT,
    "committed-never": _CLIENT,
    "committed-revoked": _CLIENT,
    "failing-record-is-not-visible": _NO_TRANSACTIONS,
    "gaps": _BROKER,
    "guarantee-is-told": _NO_TRANSACTIONS,
    "held-in-closed": _NO_TRANSACTIONS,
    "held-until-checkpoint": _NO_TRANSACTIONS,
    "hung-sidecar": _CLIENT,
    "mutual-tls": _TLS,
    "no-proxy": _CLIENT,
    "no-sources": _NO_TRANSACTIONS,
    "no-timestamps": _BROKER,
    "one-commit-at-a-time": _NO_TRANSACTIONS,
    "quiet-for-long": _CLIENT,
    "secrets-stay-secret": _CLIENT,
    "sigterm-while-loading": _CLIENT,
    "sigterm-without-sidecar": _CLIENT,
    "slow-reader": _CLIENT,
    "some-sources": _NO_TRANSACTIONS,
    "sources": _NO_TRANSACTIONS,
    "starts-before-sidecar": _CLIENT,
    "state-ahead": _NO_METADATA,
    "state-beyond": _NO_METADATA,
    "state-emptied": _NO_METADATA,
    "state-fits-just": _NO_METADATA,
    "state-in-closed": _NO_METADATA,
    "state-in-error": _NO_METADATA,
    "state-not-again": _NO_METADATA,
    "state-not-kept": _NO_METADATA,
    "state-of-assigned": _NO_METADATA,
    "state-sent-again": _NO_METADATA,
    "state-too-large": _NO_METADATA,
    "state-waits": _NO_METADATA,
    "state-with-checkpoint": _NO_METADATA,
    "state-with-commit": _NO_TRANSACTIONS,
    "tls": _TLS,
    "tls-foreign-authority": _TLS,
    "together": _NO_TRANSACTIONS,
    "together-awaited": _NO_TRANSACTIONS,
    "too-much-held": _NO_TRANSACTIONS,
    "too-much-held-taken": _NO_TRANSACTIONS,
    "too-much-held-unawaited": _NO_TRANSACTIONS,
    "unknown-outcome": _NEWER,
    "unknown-produce-outcome": _NEWER,
    "unknown-reason": _NEWER,
    "unspecified-checkpoint": _NEWER,
    "unspecified-outcome": _NEWER,
}
