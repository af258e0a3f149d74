"""The server's view of a lambda in the config."""

from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.config.lambdas import LambdaConfig
from sidecar.mail.boxes import Mailbox
from sidecar.measured import LoopMeasure
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.status import Problem, SupervisedStatus


@dataclass(frozen=True, slots=True)
class LambdaRuntime:
    """A lambda's config, its consumer thread's mailbox, its producer, and what the loop counts of it."""

    config: LambdaConfig
    mailbox: Mailbox
    lambda_producer: LambdaProducer
    measure: LoopMeasure = field(default_factory=LoopMeasure)


class Own(NamedTuple):
    """The event loop's part of a lambda's status; the consumer thread has the rest."""

    problems: list[Problem]
    process_exits: int
    """How often a process of `command` ended by itself."""
    supervised: tuple[SupervisedStatus, ...] = ()
