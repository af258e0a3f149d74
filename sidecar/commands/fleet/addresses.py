"""The addresses of sidecars: as the operator gives them, and as they are dialled."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from sdk_python._tls import Tls
from sidecar.config import Endpoint, dial, parse_endpoint

_DNS = "dns:///"

MAX_AT_ONCE = 64
"""How many names are looked up, and how many sidecars asked, at the same time: each has a thread of its own."""

LookUp = Callable[[str], Sequence[str]]
"""The addresses of a host name, the best first. Raises ``OSError`` or ``UnicodeError`` when there are none."""


class Sidecar(NamedTuple):
    """Where one sidecar is dialled."""

    address: str
    """`host:port` or `unix:///path`."""
    name: str | None = None
    """The host name of which ``address`` is one of several addresses; None: the operator gave this very address."""

    def tls(self, tls: Tls | None) -> Tls | None:
        """The TLS options for this sidecar: its certificate has to be for the name that the operator gave."""
        return tls if tls is None or self.name is None else tls._replace(name=tls.name or self.name)


class Member(NamedTuple):
    """A member of a consumer group, as Kafka knows it."""

    host: str
    """The IP address from which it is connected to Kafka."""
    client_id: str
    partitions: frozenset[tuple[str, int]]
    """Topic and number of each partition that Kafka has given to it."""


class Fleet(NamedTuple):
    """The sidecars that a command is about, and how they are called. At least one."""

    sidecars: tuple[Sidecar, ...]
    token: str | None
    tls: Tls | None
    group: str | None = None
    """Only the lambdas of this consumer group are meant; None: all."""
    members: tuple[Member, ...] = ()
    """The group's members, if the sidecars were found by them."""

    @property
    def several(self) -> bool:
        """Whether it has to be said which sidecar answers."""
        return len(self.sidecars) > 1


def listed(texts: Iterable[str]) -> list[str]:
    """The addresses in what the operator gave, each once: `host:port`, `dns:///host:port` or `unix:///path`, with
    commas between them.

    Raises ``ValueError``, whose text says what was expected.
    """
    parts = (part.strip() for text in texts for part in text.split(","))
    return [*dict.fromkeys(dial(part.removeprefix(_DNS)) for part in parts if part)]


def host_in(shown: str) -> str:
    """The IP address in a member's host. Kafka shows it as Java does: `/10.0.0.3`, `name/10.0.0.3`,
    `/0:0:0:0:0:0:0:1`."""
    text = shown.rpartition("/")[2]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def of_members(members: Iterable[Member], listen: str) -> list[str]:
    """The addresses of a group's members, each once, if all of them are sidecars and listen as one of them does.

    Kafka knows the host of each member, but neither where its sidecar listens nor that it is one.

    Args:
        members: the group's members.
        listen: a sidecar's `server.listen`.

    Raises ``ValueError`` when who listens like this cannot be reached from elsewhere, or the port is not known.
    """
    endpoint = parse_endpoint(listen)
    if endpoint.local or endpoint.port == 0:
        why = "means any free port" if endpoint.port == 0 else "is reachable from its own machine only"
        raise ValueError(
            f"server.listen is {listen}, which {why}, so the group's members do not tell where their sidecars can be "
            "dialled; give the addresses: --address A --address B"
        )
    return [*dict.fromkeys(str(Endpoint(member.host, endpoint.port)) for member in members)]


def look_up(host: str) -> Sequence[str]:
    """The addresses of a host name. Raises ``OSError`` or ``UnicodeError`` when there are none.

    They are of one family, that of which there are more: a machine that has an IPv4 and an IPv6 address is one
    machine.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    families: dict[int, dict[str, None]] = {}
    for family, _, _, _, where in found:
        families.setdefault(family, {})[str(where[0])] = None
    return [*max(families.values(), key=len)]


def expanded(addresses: Sequence[str], look_up: LookUp = look_up) -> tuple[Sidecar, ...]:
    """The sidecars at these addresses: a name with several addresses stands for as many sidecars.

    A name with one address stays a name, and so does one that is not found: gRPC dials it, and says what is wrong.

    Args:
        addresses: as from `listed`; at least one.
        look_up: finds the addresses of a name.
    """
    with ThreadPoolExecutor(min(len(addresses), MAX_AT_ONCE)) as pool:
        groups = pool.map(lambda address: _expanded(address, look_up), addresses)
        return tuple(dict.fromkeys(one for group in groups for one in group))


def _expanded(address: str, look_up: LookUp) -> list[Sidecar]:
    endpoint = parse_endpoint(address)
    if endpoint.path:
        return [Sidecar(address)]
    try:
        hosts = look_up(endpoint.host)
    except (OSError, UnicodeError):
        hosts = []
    if len(hosts) < 2:
        return [Sidecar(address)]
    return [Sidecar(str(Endpoint(host, endpoint.port)), endpoint.host) for host in hosts]
