"""Addresses to listen on: `host:port`, `[ipv6]:port` or `unix:///path`."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from functools import lru_cache
from typing import NamedTuple

from sidecar.config.units import quoted

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
# The longest path in a Unix socket's address on Linux, without the final NUL.
_MAX_SOCKET_PATH_BYTES = 107
_UNIX = "unix://"


class Endpoint(NamedTuple):
    """A parsed address: either a host and a port, or the path of a Unix socket."""

    host: str
    """Without brackets; empty for a Unix socket."""
    port: int
    """0: any free port. -1 for a Unix socket."""
    path: str = ""
    """The Unix socket's absolute path; empty for a host."""

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine's loopback, by its text alone (no lookup)."""
        try:
            return _is_loopback(self.host)
        except ValueError:
            return self.host.lower() == "localhost" or self.host.lower().endswith(".localhost")

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it. A name is looked up; an unknown name counts as not local."""
        if self.path or self.loopback:
            return True
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return _resolves_to_loopback(self.host)
        return False

    def __str__(self) -> str:
        if self.path:
            return f"{_UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(text: str, *, unix: bool = True) -> Endpoint:
    """Parse an address. Raises ``ValueError``, whose text says what was expected.

    Args:
        text: `host:port`, `[ipv6]:port` or `unix:///absolute/path`.
        unix: whether a Unix socket is possible here.
    """
    expected = f"expected host:port{' or unix:///path' if unix else ''}, not {quoted(text)}"
    if text.startswith("unix:"):
        path = text.removeprefix(_UNIX)
        if not unix:
            raise ValueError(f"{expected}: a Unix socket is not possible here")
        if not text.startswith(f"{_UNIX}/") or len(path) < 2:
            raise ValueError(f"{expected}: a socket's path must be absolute, as in unix:///run/sidecar.sock")
        if "\0" in path:
            raise ValueError("expected a socket's path without NUL")
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            raise ValueError(f"{expected}: a socket's path may have {_MAX_SOCKET_PATH_BYTES} bytes at most")
        return Endpoint("", -1, path)
    if "://" in text:
        raise ValueError(f"{expected}: an address here has no {text.partition('://')[0]}:// and no path")
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{expected}: {'the host' if colon else 'the port'} is missing")
    if not (is_port(port)):
        raise ValueError(f"{expected}: a port is a number from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        return Endpoint(_ipv6(host[1:-1], expected), int(port))
    if ":" in host:
        raise ValueError(f"{expected}: an IPv6 address needs brackets, as in [::1]:50051")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{expected}: {host!r} is neither a name nor an address")
    return Endpoint(host, int(port))


def is_port(text: str) -> bool:
    """Whether this is a number from 0 to 65535."""
    return text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535


def dial(listen: str) -> str:
    """The address at which this machine can dial a server that listens on ``listen``.

    For all interfaces (0.0.0.0, [::]) that is loopback. Raises ``ValueError`` when ``listen`` is no address, or its
    port is 0: then only the sidecar's log names the port.
    """
    endpoint = parse_endpoint(listen)
    if endpoint.port == 0:
        raise ValueError(f"{listen} means any free port: the sidecar logs which one it took; name it yourself")
    if endpoint.path:
        return str(endpoint)
    try:
        address = ipaddress.ip_address(endpoint.host)
    except ValueError:
        return str(endpoint)
    if address.is_unspecified:
        return str(endpoint._replace(host="::1" if address.version == 6 else "127.0.0.1"))
    return str(endpoint)


def _is_loopback(address: str) -> bool:
    """Whether an IP address is loopback. Raises ``ValueError`` when it is no IP address."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


@lru_cache(maxsize=64)
def _resolves_to_loopback(name: str) -> bool:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_loopback(str(one[4][0])) for one in found)


def _ipv6(text: str, expected: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError(f"{expected}: {text!r} is not an IPv6 address") from None
