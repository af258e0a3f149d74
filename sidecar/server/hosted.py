"""A lambda of the config, as the server knows it."""

from dataclasses import dataclass
from typing import NamedTuple

from sidecar import mail
from sidecar.config.lambdas import LambdaConfig
from sidecar.kafka.outlet import Outlet


@dataclass(frozen=True, slots=True)
class Hosted:
    """Its config, the way to its consumer thread, and where what it produces goes."""

    config: LambdaConfig
    mailbox: mail.Mailbox
    outlet: Outlet


class Own(NamedTuple):
    """What the event loop knows of a lambda's state, beside its consumer thread."""

    problems: list[mail.Problem]
    process_exits: int
    """How often a process that the sidecar keeps running ended by itself."""
