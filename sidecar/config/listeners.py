"""Checks of the addresses to listen on: can others reach them, and are two of them the same?"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.config.address import Endpoint, parse_endpoint
from sidecar.config.base import Loc, Wrong
from sidecar.config.kafka_properties import is_embedded

DEFAULT_LISTEN = "127.0.0.1:50051"
DEFAULT_OPERATE = "127.0.0.1:8080"

_SERVERS = ("kafka", "bootstrap.servers")


def listener_mistakes(data: Mapping[Any, Any]) -> Iterator[Wrong]:
    """Addresses of one config that clash; ``data`` is raw and may be wrong in any way."""
    taken: list[tuple[Loc, Endpoint]] = []
    for loc, endpoint in _listeners(data):
        other = next((one for one, there in taken if _same(there, endpoint)), None)
        if other is not None:
            # A default is in no line of the file: then the mistake is told where the other address is.
            told, by = (loc, other) if isinstance(data.get(loc[0]), Mapping) else (other, loc)
            yield Wrong(told, f"{endpoint} is taken by {'.'.join(map(str, by))}", "give each a port of its own")
        taken.append((loc, endpoint))
    kafka = data.get("kafka")
    servers = kafka.get(_SERVERS[1]) if isinstance(kafka, Mapping) else None
    if isinstance(servers, str) and not is_embedded(servers):
        for server in servers.split(","):
            broker = _parsed(server.strip().rpartition("://")[2])
            other = next((loc for loc, there in taken if broker is not None and _is_at(there, broker)), None)
            if other is not None:
                message = f"{server.strip()} is where the sidecar itself listens, by {'.'.join(map(str, other))}"
                yield Wrong(_SERVERS, message, "one of the two must be another")


def beyond_loopback(data: Mapping[Any, Any], section: str, danger: str, remedy: str) -> Iterator[Wrong]:
    """The mistake of a section that others can reach and that does not say `insecure: true`."""
    listen = data.get("listen")
    if data.get("insecure") is True or not isinstance(listen, str):
        return  # the defaults are on loopback
    try:
        endpoint = parse_endpoint(listen)
    except ValueError:
        return  # reported elsewhere
    if not endpoint.local:
        hint = f"{remedy}, or say {section}.insecure: true"
        yield Wrong(("listen",), f"{listen} is reachable from other machines, and {danger}", hint)


def _listeners(data: Mapping[Any, Any]) -> Iterator[tuple[Loc, Endpoint]]:
    kafka = data.get("kafka")
    servers = kafka.get(_SERVERS[1]) if isinstance(kafka, Mapping) else None
    if isinstance(servers, str) and is_embedded(servers):
        broker = _parsed(f"127.0.0.1:{servers.partition(':')[2]}")
        if broker is not None:
            yield _SERVERS, broker
    for name, default in (("server", DEFAULT_LISTEN), ("operate", DEFAULT_OPERATE)):
        section = data.get(name)
        if section is None and name == "server":
            section = {}
        if isinstance(section, Mapping):
            endpoint = _parsed(section.get("listen", default))
            if endpoint is not None:
                yield (name, "listen"), endpoint


def _parsed(text: Any) -> Endpoint | None:
    """The address; None when it is wrong, which is reported elsewhere, or means any free port."""
    try:
        endpoint = parse_endpoint(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return None if endpoint is None or endpoint.port == 0 else endpoint


def _same(one: Endpoint, other: Endpoint) -> bool:
    """Whether one process cannot listen on both."""
    if one.path or other.path:
        return one.path == other.path
    if one.port != other.port:
        return False
    return one.host.lower() == other.host.lower() or _is_any(one) or _is_any(other) or _are_loopback(one, other)


def _is_at(listener: Endpoint, broker: Endpoint) -> bool:
    """Whether a client that dials ``broker`` reaches ``listener``."""
    if listener.port != broker.port:
        return False
    same = listener.host.lower() == broker.host.lower()
    return same or (broker.loopback and (_is_any(listener) or _are_loopback(listener, broker)))


def _is_any(endpoint: Endpoint) -> bool:
    try:
        return ipaddress.ip_address(endpoint.host).is_unspecified
    except ValueError:
        return False


def _are_loopback(one: Endpoint, other: Endpoint) -> bool:
    """Whether both are loopback and one is a name: a name stands for all loopback addresses, which differ."""
    names = {one.host.lower(), other.host.lower()}
    return one.loopback and other.loopback and any("localhost" in name for name in names)
