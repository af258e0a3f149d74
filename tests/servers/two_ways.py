"""Real Kafka that is reached by IPv4 and by IPv6: for it, clients on one machine are then on two hosts."""

from __future__ import annotations

import socket
from contextlib import suppress

from tests.servers.kafka import KafkaServer
from tests.servers.process import free_ports


class TwoWayKafka(KafkaServer):
    """A Kafka node with a second listener on the IPv6 loopback."""

    def __init__(self) -> None:
        """Starts nothing."""
        super().__init__()
        self.six = f"[::1]:{free_ports(1)[0]}"
        """For `bootstrap.servers`, by IPv6."""
        listens = f"PLAINTEXT://{self.address},SIX://{self.six}"
        self._settings |= {
            "listeners": f"{listens},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": listens,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SIX:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
        }


def lacks_ipv6() -> str | None:
    """Return one line that says that this machine has no IPv6 loopback, or None."""
    with suppress(OSError), socket.socket(socket.AF_INET6) as tried:
        tried.bind(("::1", 0))
        return None
    return "this machine has no IPv6 loopback"
