"""The faults of a run, made from a seed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from tests.servers.kafka_proxy import Api, Moment

WEIGHTS: Mapping[str, float] = {
    "lambda-kill": 3,
    "lambda-freeze": 1,
    "sidecar-kill": 3,
    "sidecar-terminate": 2,
    "sidecar-freeze": 2,
    "broker-kill": 1,
    "broker-freeze": 1,
    "request-cut": 7,
    "request-kill": 5,
    "request-freeze": 3,
    "producer-fence": 1,
    "topic-refuse": 0.5,
}
"""The relative frequency of each kind. Those of a request happen when a sidecar sends the request:

- `request-cut`: its connection ends
- `request-kill`: the sidecar is killed, and the connection ends
- `request-freeze`: the sidecar is frozen while the request waits. Then the request goes on, and the sidecar wakes up
"""

PAUSE_S = (0.1, 2.5)
"""Seconds between two faults."""
FREEZE_S = (0.1, 4.0)
"""Seconds of a freeze. The session of a sidecar is over after `SESSION_S`."""
SESSION_S = 3.0
TOO_LONG_S = 13.0
"""Seconds of a freeze after which the broker has aborted the transaction: its timeout is 10 s, and the broker looks
every second."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    kind: str
    pause: float
    """Seconds before it."""
    seconds: float
    """Of a freeze; of the time until what was killed is started again."""
    slot: int
    """The sidecar or the copier that it concerns, from 0; of a request it is the one that sends it."""
    broker: int
    """The number of the broker that it concerns."""
    api: Api
    moment: Moment

    def __str__(self) -> str:
        match self.kind.partition("-")[0]:
            case "request":
                return f"{self.kind} {self.api.name} {self.moment.value} {self.seconds:.1f} s"
            case "broker":
                return f"{self.kind} {self.broker} {self.seconds:.1f} s"
            case _:
                return f"{self.kind} {self.slot} {self.seconds:.1f} s"


def make(seed: int, count: int, *, brokers: int = 1, slots: int = 2) -> list[Fault]:
    """The faults of a run.

    The first broker is the controller too, and is not killed: without it no partition gets a new leader. A single
    broker is not killed either: see `matrix`.
    """
    random = Random(seed)
    kinds = [kind for kind in WEIGHTS if brokers > 1 or kind != "broker-kill"]
    weights = [WEIGHTS[kind] for kind in kinds]
    found = []
    for _ in range(count):
        kind = random.choices(kinds, weights)[0]
        too_long = kind == "request-freeze" and random.random() < 0.15
        found.append(
            Fault(
                kind,
                random.uniform(*PAUSE_S),
                TOO_LONG_S if too_long else random.uniform(*FREEZE_S),
                random.randrange(slots),
                random.randint(2, brokers) if kind == "broker-kill" else random.randint(1, brokers),
                random.choice([*Api]),
                random.choice([*Moment]),
            )
        )
    return found
