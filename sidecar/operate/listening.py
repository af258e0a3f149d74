"""Listening sockets for all addresses of an endpoint, IPv4 and IPv6."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from sidecar.config.address import Endpoint

BACKLOG = 100

_NOT_OF_THIS_MACHINE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def listen(endpoint: Endpoint) -> list[socket.socket]:
    """A socket for each address of the host; with port 0 all get the same free port.

    `::` listens on IPv4 as well, as in gRPC. A name may have an address that this machine does not have, such as
    `localhost` without IPv6: one usable address is enough. Raises ``OSError`` when none is usable, or one is in use.
    """
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    failed: OSError | None = None
    with ExitStack() as cleanup:
        port = endpoint.port
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                one = cleanup.enter_context(socket.socket(family, kind, protocol))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, endpoint.host != "::")
                one.bind((address[0], port, *address[2:]))
                one.listen(BACKLOG)
            except OSError as error:
                if error.errno not in _NOT_OF_THIS_MACHINE:
                    raise
                failed = error
                continue
            port = one.getsockname()[1]
            made.append(one)
        if failed is not None and not made:
            raise failed
        cleanup.pop_all()
    return made
