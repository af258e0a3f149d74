"""Records that a lambda passes without handling them: counted once, and what they belong to is named."""

from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    ErrorAction,
    Failure,
    Progress,
    Report,
    RevokeReason,
)

from .lab import P0, Lab

ACCEPTED = (CheckpointOutcome.ACCEPTED, None)


def said(offset: int | None, skipped: int, *names: str, count: int | None = None) -> Progress:
    return Progress(offset, 0, 0, None, skipped, names, len(names) if count is None else count)


def counts(lab: Lab) -> tuple[int, int, tuple[str, ...], int]:
    """Of the table; of the partition."""
    partition = lab.partition()
    holding = partition.holding
    names, count = ((), 0) if holding is None else (holding.skipping, holding.skipping_count)
    return lab.table.counts.skipped, partition.skipped, names, count


def named(lab: Lab) -> list[object]:
    """The documents in the log since the last look."""
    return [r.fields["documents"] for r in lab.commands(Report) if r.event.startswith("documents are corrupt")]


def test_counts_are_totals_of_the_lease() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    for progress in (said(2, 1, "a"), said(4, 3, "a"), said(4, 3, "a"), said(None, 2, "a")):
        assert lab.table.streams.checkpoint(lease, progress, lab.now) == ACCEPTED
    assert counts(lab) == (3, 3, ("a",), 1)
    lab.table.streams.checkpoint(lease, Progress(5), lab.now)
    assert counts(lab) == (3, 3, (), 0), "a client that says nothing of it skips nothing"


def test_a_refused_checkpoint_counts_no_skipped_record() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 4)
    outcome, _ = lab.table.streams.checkpoint(lease, said(5, 2, "a"), lab.now)
    assert outcome is CheckpointOutcome.BEYOND_DELIVERED
    assert lab.table.streams.checkpoint("another", said(3, 2, "a"), lab.now)[0] is CheckpointOutcome.STALE_LEASE
    assert counts(lab) == (0, 0, (), 0)


def test_no_more_records_are_skipped_than_offsets_passed() -> None:
    """What comes from the wire is not trusted."""
    lab = Lab()
    lease = lab.run(at=100)
    lab.send(100, 109)
    lab.table.streams.checkpoint(lease, said(None, 2**64 - 1), lab.now)
    assert counts(lab)[:2] == (0, 0)
    lab.table.streams.checkpoint(lease, said(104, 2**64 - 1), lab.now)
    assert counts(lab)[:2] == (5, 5)


def test_the_count_outlives_the_lease_and_the_names_do_not() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 9)
    lab.table.streams.checkpoint(lease, said(4, 3, "a"), lab.now)
    lab.close(1, ClosedReason.STOPPED)
    assert counts(lab) == (3, 3, (), 0)
    lease = lab.run(stream=2, process="next")
    lab.send(5, 9)
    lab.table.streams.checkpoint(lease, said(6, 2, "a"), lab.now)
    assert counts(lab) == (5, 5, ("a",), 1)
    lab.table.revoke([P0], RevokeReason.REBALANCE, 1.0, lab.now)
    lab.table.streams.closed(2, ClosedReason.REVOKED, said(9, 4, "a"), lab.now)
    assert counts(lab) == (7, 7, (), 0), "with the last checkpoint too"
    lab.table.forget([P0])
    assert lab.table.counts.skipped == 7


def test_the_last_checkpoint_of_an_error_counts_when_it_lies_below() -> None:
    for failing, skipped in ((5, 2), (3, 0)):
        lab = Lab()
        lease = lab.run()
        lab.send(0, 9)
        lab.table.streams.error(lease, Failure(ErrorAction.CRITICAL, failing), said(4, 2, "a"), lab.now)
        assert counts(lab)[:2] == (skipped, skipped)


def test_each_document_is_logged_once() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 19)
    for offset, names in enumerate([("a",), ("a",), ("a", "b", "c"), ("b", "c"), ("b", "c"), (), ("b",)]):
        lab.table.streams.checkpoint(lease, said(offset, offset + 1, *names), lab.now)
    assert named(lab) == [("a",), ("b", "c"), ("b",)]
