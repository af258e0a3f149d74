"""A lambda of the config, as the server knows it."""

from dataclasses import dataclass
from typing import NamedTuple

from sidecar.config.lambdas import LambdaConfig
from sidecar.mail.boxes import Mailbox
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.status import Problem


@dataclass(frozen=True, slots=True)
class LambdaRuntime:
    """Its config, the way to its consumer thread, and where what it produces goes."""

    config: LambdaConfig
    mailbox: Mailbox
    lambda_producer: LambdaProducer


class Own(NamedTuple):
    """What the event loop knows of a lambda's state, beside its consumer thread."""

    problems: list[Problem]
    process_exits: int
    """How often a process that the sidecar keeps running ended by itself."""
