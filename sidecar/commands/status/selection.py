"""Which part of a sidecar's answer is meant: lambdas, topics, partitions, and states. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.target import parse_number
from sidecar.explain import Place, Urgency, explain
from sidecar.visible import visible

PROBLEM = "problem"
"""Instead of a state: partitions that need a person, whatever their state."""

STATES = ("running", "waiting", "starting", "draining", "backing-off", "halted", "paused", "resolving", PROBLEM)
"""The states by which can be chosen."""

_EXAMPLE = "as in deli, deli/rawdeltas or deli/rawdeltas/3"
_OF_ONE_PARTITION = "commit:"


class Chosen(NamedTuple):
    """A lambda, the partitions of one of its topics, one partition, or one lane of it."""

    lambda_name: str
    topic: str | None = None
    partition: int | None = None
    lane: int | None = None

    def __str__(self) -> str:
        whole = "/".join(str(part) for part in self[:3] if part is not None)
        return whole if self.lane is None else f"{whole}.{self.lane}"

    def has(self, name: str, place: Place) -> bool:
        """Whether this partition of the lambda ``name`` is meant."""
        return (
            self.lambda_name == name
            and self.topic in (None, place.topic)
            and self.partition in (None, place.partition)
            and (self.lane is None or place.lane in (-1, self.lane))
        )


def parse_chosen(text: str) -> Chosen:
    """Parse `LAMBDA[/TOPIC[/PARTITION[.LANE]]]`.

    Raises ``ValueError``, whose text says what is wrong, with an example.
    """
    parts = text.split("/")
    if len(parts) > 3 or not all(parts):
        raise ValueError(f"expected LAMBDA, LAMBDA/TOPIC or LAMBDA/TOPIC/PARTITION, {_EXAMPLE}, not {text!r}")
    if len(parts) < 3:
        return Chosen(parts[0], parts[1] if len(parts) > 1 else None)
    return Chosen(parts[0], parts[1], *parse_number(parts[2], _EXAMPLE))


def narrowed(status: pb.StatusResponse, chosen: Sequence[Chosen]) -> pb.StatusResponse:
    """A copy with what is chosen only; nothing chosen: with all.

    A lambda that has no partition stays, also if one of its partitions is chosen: it says why it has none.
    """
    copy = pb.StatusResponse()
    copy.CopyFrom(status)
    if not chosen:
        return copy
    del copy.lambdas[:]
    for one in status.lambdas:
        mine = [which for which in chosen if which.lambda_name == one.name]
        kept = _narrowed(one, mine)
        if mine and (kept.partitions or not one.partitions):
            copy.lambdas.append(kept)
    return copy


def _narrowed(one: pb.Lambda, chosen: Sequence[Chosen]) -> pb.Lambda:
    def has(place: Place) -> bool:
        return any(which.has(one.name, place) for which in chosen)

    kept = pb.Lambda()
    kept.CopyFrom(one)
    del kept.partitions[:], kept.problems[:], kept.topic_sizes[:]
    whole = {which.topic for which in chosen if which.partition is None}
    kept.topic_sizes.extend(size for size in one.topic_sizes if {None, size.topic} & whole)
    kept.partitions.extend(partition for partition in one.partitions if has(place_of(partition)))
    kept.problems.extend(problem for problem in one.problems if (at := _place(problem)) is None or has(at))
    return kept


def _place(problem: pb.Problem) -> Place | None:
    """The partition that the problem's kind names; None: it concerns all."""
    if not problem.kind.startswith(_OF_ONE_PARTITION):
        return None
    topic, _, number = problem.kind.removeprefix(_OF_ONE_PARTITION).rpartition("/")
    return Place(topic, int(number)) if number.isdecimal() else None


def place_of(partition: pb.Partition) -> Place:
    """The name of a partition, or of its lane."""
    return Place(partition.topic, partition.partition, partition.lane if partition.lanes > 1 else -1)


def in_states(status: pb.StatusResponse, states: Collection[str]) -> pb.StatusResponse:
    """A copy with the partitions that are in one of these `STATES`; no state: with all."""
    copy = pb.StatusResponse()
    copy.CopyFrom(status)
    if not states:
        return copy
    urgencies = urgency_of(status) if PROBLEM in states else {}
    for one in copy.lambdas:
        kept = [
            partition
            for partition in one.partitions
            if state_in_words(partition.state).replace(" ", "-") in states
            or urgencies.get((one.name, place_of(partition)), Urgency.WELL) >= Urgency.LOOK
        ]
        del one.partitions[:], one.topic_sizes[:]  # what is left out is not unowned
        one.partitions.extend(kept)
    return copy


def urgency_of(status: pb.StatusResponse) -> dict[tuple[str, Place], Urgency]:
    """How urgent each partition is, by its lambda and name, as far as an explanation says something of it."""
    known: dict[tuple[str, Place], Urgency] = {}
    for finding in explain(status):  # the most urgent first
        for place in finding.places:
            for name in finding.lambda_names:
                known.setdefault((name, place), finding.urgency)
    return known


def state_in_words(number: int) -> str:
    """The state in words. A sidecar of a newer version may have one that is not known here."""
    states = pb.PartitionState
    name = states.Name(number) if number in states.values() else f"state {number}"
    return name.removeprefix("PARTITION_STATE_").lower().replace("_", " ")


def not_there(chosen: Iterable[Chosen], answers: Sequence[pb.StatusResponse]) -> str:
    """What is chosen and none of the sidecars has, with what there is instead; empty: all is there."""
    known = {one.name for answer in answers for one in answer.lambdas}
    for which in chosen:
        if which.lambda_name not in known:
            there = ", ".join(sorted(known)) or "none"
            return visible(f"there is no lambda {which.lambda_name!r}; there are: {there}")
        mine = [one for answer in answers for one in answer.lambdas if one.name == which.lambda_name]
        places = {place_of(partition) for one in mine for partition in one.partitions}
        if places and not any(which.has(which.lambda_name, place) for place in places):
            there = ", ".join(map(str, sorted(places)))
            sidecars = "this sidecar" if len(answers) == 1 else f"any of the {len(answers)} sidecars that answered"
            return visible(f"{which} is not assigned to {sidecars} now; {which.lambda_name} has: {there}")
    return ""
