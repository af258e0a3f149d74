"""The status of several sidecars as one: as JSON, and what nobody owns. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sdk_python.protocol import admin_pb2
from sidecar.commands import show
from sidecar.commands.fleet.addresses import Member
from sidecar.commands.fleet.asking import Answer, Answered, Failed
from sidecar.visible import visible

TopicPartition = tuple[str, int]
"""A topic, and the number of one of its partitions."""


def merged_json(answers: Sequence[Answer]) -> str:
    """The answers as JSON. `lambdas` has those of all sidecars, each with the address of its `sidecar`; `sidecars`
    says who answered, and why others did not; `unowned` has the partitions that none of them owns."""
    sidecars: list[dict[str, Any]] = []
    lambdas: list[dict[str, Any]] = []
    for one in answers:
        address = one.sidecar.address
        if isinstance(one, Failed):
            sidecars.append({"address": address, "error": one.reason})
            continue
        status = json.loads(show.status_json(one.status))
        lambdas += ({"sidecar": address, **hosted} for hosted in status.pop("lambdas"))
        sidecars.append({"address": address, **status})
    free = [
        {"lambda": name, "group": group, "topic": topic, "partition": partition}
        for (name, group), hosted in by_lambda(answers).items()
        for topic, partition in unowned(hosted)
    ]
    return json.dumps({"sidecars": sidecars, "lambdas": lambdas, "unowned": free}, indent=2)


Hosted = tuple[str, admin_pb2.Lambda]
"""The address of a sidecar, and one of its lambdas."""


def by_lambda(answers: Sequence[Answer]) -> dict[tuple[str, str], list[Hosted]]:
    """The sidecars that have a lambda, by its name and group: in another group it has other partitions."""
    found: dict[tuple[str, str], list[Hosted]] = {}
    for one in answers:
        if isinstance(one, Answered):
            for hosted in one.status.lambdas:
                found.setdefault((hosted.name, hosted.group), []).append((one.sidecar.address, hosted))
    return found


def unowned_lines(answers: Sequence[Answer], members: Sequence[Member]) -> Iterator[str]:
    """For each lambda a line about the partitions that none of its sidecars owns, and about who has them instead.

    Args:
        answers: of all sidecars that were asked.
        members: of the group by which the sidecars were found.
    """
    nobody = (
        "nobody owns" if all(isinstance(one, Answered) for one in answers) else "none of those that answered owns"
    )
    for (name, _), hosted in by_lambda(answers).items():
        free = unowned(hosted)
        if free:
            yield f"{name}: {nobody} {_ranges(free)}"
            yield from (f"  {line}" for line in _held_elsewhere(free, members))


def unowned(hosted: Sequence[Hosted]) -> list[TopicPartition]:
    """The partitions of a lambda's topics that none of these sidecars owns.

    An older sidecar does not say how many partitions a topic has; then another's word counts, or nothing is missed.
    """
    sizes: dict[str, int] = {}
    for _, one in hosted:
        for size in one.topic_sizes:
            sizes[size.topic] = max(size.partitions, sizes.get(size.topic, 0))
    owned = {(partition.topic, partition.partition) for _, one in hosted for partition in one.partitions}
    return [
        (topic, number)
        for topic, count in sorted(sizes.items())
        for number in range(count)
        if (topic, number) not in owned
    ]


def _held_elsewhere(free: Collection[TopicPartition], members: Iterable[Member]) -> Iterator[str]:
    """Lines about members of the group that own some of these partitions: none of them is a sidecar that answered."""
    for member in members:
        held = sorted(member.partitions.intersection(free))
        if held:
            yield visible(
                f"Kafka has given {_ranges(held)} to a member at {member.host} (client.id {member.client_id}), which "
                "is none of those that answered: does it listen on another port? --address names it"
            )


def _ranges(partitions: Sequence[TopicPartition]) -> str:
    """Sorted partitions, shortened: `raw/1, raw/3-5`."""
    runs: list[tuple[str, int, int]] = []
    for topic, number in partitions:
        if runs and runs[-1][0] == topic and runs[-1][2] == number - 1:
            runs[-1] = (topic, runs[-1][1], number)
        else:
            runs.append((topic, number, number))
    return ", ".join(f"{t}/{first}" if first == last else f"{t}/{first}-{last}" for t, first, last in runs)
