"""Which jobs share a transaction. Pure: no Kafka, thread or clock.

A round is one transaction. Jobs are taken in the order in which the consumer thread made them, and none overtakes
another: so the place of a partition's last job in a round covers all its jobs before.
"""

from collections.abc import Collection, Sequence

from sidecar.mail.outgoing import Job
from sidecar.partitions.vocabulary import TopicPartition


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

    def places(self) -> dict[TopicPartition, Job]:
        """The job with the place of each partition: its last one."""
        return {job.tp: job for job in self._jobs}


class Void:
    """Which jobs are void, since the state from which they follow was aborted.

    1. A round is aborted. Jobs of its partitions may wait already, or be made before the consumer thread reads of it.
    2. The thread reads of it, takes back what the partitions did since the last commit, and counts one epoch more.
    3. So a job of these partitions is void, unless its epoch is a later one than that of the aborted jobs.
    """

    def __init__(self) -> None:
        self._until: dict[TopicPartition, int] = {}

    def aborted(self, jobs: Collection[Job]) -> None:
        """The round with these jobs was aborted."""
        epoch = max(job.epoch for job in jobs)
        self._until.update(dict.fromkeys((job.tp for job in jobs), epoch))

    def __contains__(self, job: Job) -> bool:
        """Whether the job must not be begun."""
        return job.withdrawn or job.epoch <= self._until.get(job.tp, -1)
