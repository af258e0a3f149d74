"""Which jobs share a transaction. Pure: no Kafka, thread or clock.

A round is one transaction. A partition has one job at a time, so a round has at most one of each.
"""

from collections.abc import Sequence

from sidecar.mail.outgoing import Job


class Round:
    """The jobs of one transaction."""

    def __init__(self, first: Job) -> None:
        self._jobs = [first]

    @property
    def jobs(self) -> Sequence[Job]:
        """In the order in which they were taken."""
        return self._jobs

    @property
    def is_closed(self) -> bool:
        """Whether it need not wait for more: nobody else has anything to add, or nobody else may."""
        return self._jobs[-1].last or self._jobs[0].alone

    def admits(self, job: Job) -> bool:
        """Whether this job may join.

        All jobs of a round are of one generation of the group. The steps that this prevents: (1) A job of partition A
        is in the round. (2) A rebalance gives A to another member. (3) A job of partition B joins, made after that.
        (4) The offsets of both are sent with the generation of B's job. The broker would take A's too: it checks that
        we are a member of that generation, and not that A is ours.
        """
        first = self._jobs[0]
        return not (first.alone or job.alone) and job.group == first.group

    def add(self, job: Job) -> None:
        """It joins."""
        self._jobs.append(job)
