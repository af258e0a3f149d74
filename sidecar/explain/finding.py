"""What an explanation says about one cause: how urgent it is, where it is, in sentences, and what helps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from sidecar.causes import Cause


class Urgency(IntEnum):
    """How urgent a finding is. A higher number is more urgent."""

    WELL = 0
    """All is as it should be."""
    PASSES = 1
    """It does not move now, and goes on by itself within seconds or at a time that the text names."""
    LOOK = 2
    """It is not as it should be, or waits for a person who wanted it so: somebody should look."""
    ACT = 3
    """It stands still, and nothing but a person ends that."""


class Place(NamedTuple):
    """A partition that a finding is about, or one lane of it."""

    topic: str
    partition: int
    lane: int = -1
    """-1: the partition has no lanes, or all are meant."""

    def __str__(self) -> str:
        whole = f"{self.topic}/{self.partition}"
        return whole if self.lane < 0 else f"{whole}.{self.lane}"

    def plain(self) -> dict[str, Any]:
        """As a value that JSON can hold."""
        whole = {"topic": self.topic, "partition": self.partition}
        return whole if self.lane < 0 else {**whole, "lane": self.lane}


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause, and everything that it concerns."""

    urgency: Urgency
    cause: Cause
    lambda_names: tuple[str, ...]
    """The lambdas that it concerns. Several only for what they share, such as the connection to Kafka; none where it
    concerns the sidecar itself."""
    places: tuple[Place, ...]
    """The partitions that it concerns, in order; empty: whole lambdas."""
    sentences: tuple[str, ...]
    """What is known, and then what helps. Each can be shown in one line as it is: no text from elsewhere moves a
    cursor, and no secret is in it."""
    commands: tuple[str, ...] = ()
    """Commands that the sentences name, ready to be typed. With several partitions: those for the first."""

    @property
    def text(self) -> str:
        """All sentences as one paragraph."""
        return " ".join(self.sentences)

    @property
    def lambda_name(self) -> str:
        """The lambda, if there is one only; else empty."""
        return self.lambda_names[0] if len(self.lambda_names) == 1 else ""

    @property
    def topic(self) -> str:
        """The topic of its partitions, if there is one only; else empty."""
        topics = {place.topic for place in self.places}
        return topics.pop() if len(topics) == 1 else ""

    @property
    def partition(self) -> int | None:
        """The partition, if there is one only."""
        return self.places[0].partition if len(self.places) == 1 else None

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody should look at it, or do something."""
        return self.urgency >= Urgency.LOOK

    def plain(self) -> dict[str, Any]:
        """As a value that JSON can hold."""
        return {
            "urgency": self.urgency.name.lower(),
            "cause": str(self.cause),
            "lambdas": list(self.lambda_names),
            "partitions": [place.plain() for place in self.places],
            "text": self.text,
            "commands": list(self.commands),
        }


_ORDER = {cause: number for number, cause in enumerate(Cause)}


def most_urgent_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sorted by urgency; among equals, what concerns the whole sidecar comes first, then by name."""
    return sorted(findings, key=lambda one: (-one.urgency, _ORDER[one.cause], one.lambda_names, one.places))
