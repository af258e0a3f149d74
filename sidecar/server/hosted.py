"""A lambda of the config, as the server knows it."""

from dataclasses import dataclass

from sidecar import mail
from sidecar.config.lambdas import LambdaConfig
from sidecar.kafka.outlet import Outlet


@dataclass(frozen=True, slots=True)
class Hosted:
    """Its config, the way to its consumer thread, and where what it produces goes."""

    config: LambdaConfig
    mailbox: mail.Mailbox
    outlet: Outlet
