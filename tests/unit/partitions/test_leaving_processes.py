"""A process that said that it ends gets no partition any more."""

from sidecar.partitions.processes import LEFT_KEPT_S
from sidecar.partitions.vocabulary import Assign, ClosedReason

from .lab import Lab


def test_also_when_its_spare_stream_is_available_only_after_its_last_stream_closed() -> None:
    lab = Lab()
    lab.run(stream=1, process="old")
    lab.table.streams.closed(1, ClosedReason.STOPPED, None, lab.now)
    lab.offer(2, "old")
    assert not [c for c in lab.table.take_commands() if isinstance(c, Assign)]
    lab.offer(3, "new")
    [assign] = [c for c in lab.table.take_commands() if isinstance(c, Assign)]
    assert assign.stream == 3


def test_it_is_forgotten_after_a_while() -> None:
    lab = Lab()
    lab.run(stream=1, process="old")
    lab.table.streams.closed(1, ClosedReason.STOPPED, None, lab.now)
    lab.now += LEFT_KEPT_S
    lab.offer(2, "old")
    [assign] = [c for c in lab.table.take_commands() if isinstance(c, Assign)]
    assert assign.stream == 2
