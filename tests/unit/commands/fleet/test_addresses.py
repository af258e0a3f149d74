"""The addresses of several sidecars, as they are given and as they are dialled."""

import socket
from collections.abc import Sequence

import pytest

from sdk_python._tls import Tls
from sidecar.commands.fleet import addresses
from sidecar.commands.fleet.addresses import Member, Sidecar, expanded, host_in, listed, of_members

PODS = ["10.0.0.3", "10.0.0.4"]


def found(host: str) -> Sequence[str]:
    answers = {"pods.svc": PODS, "six.svc": ["fd00::3", "fd00::4"], "one.svc": ["10.0.0.9"]}
    if host not in answers:
        raise socket.gaierror("no such name")
    return answers[host]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a:1"], ["a:1"]),
        (["a:1,b:2", "c:3"], ["a:1", "b:2", "c:3"]),
        (["a:1, a:1", "a:1"], ["a:1"]),
        (["dns:///pods.svc:1,unix:///run/x.sock"], ["pods.svc:1", "unix:///run/x.sock"]),
        (["0.0.0.0:1", "[::]:1"], ["127.0.0.1:1", "[::1]:1"]),
        (["", ","], []),
    ],
)
def test_what_the_operator_gives(texts: list[str], expected: list[str]) -> None:
    assert listed(texts) == expected


@pytest.mark.parametrize("text", ["a:1,b", "dns://8.8.8.8/pods.svc:1", "a:1,unix://x"])
def test_one_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        listed([text])


def test_a_name_with_several_addresses_stands_for_as_many_sidecars() -> None:
    assert expanded(["pods.svc:50051"], found) == tuple(Sidecar(f"{pod}:50051", "pods.svc") for pod in PODS)
    six = ("[fd00::3]:1", "[fd00::4]:1")
    assert expanded(["six.svc:1", "10.0.0.3:1"], found) == (
        *(Sidecar(one, "six.svc") for one in six),
        ("10.0.0.3:1", None),
    )


def test_other_addresses_stay_as_they_are() -> None:
    """Also a name that is not found: gRPC says so when it is dialled, and the others are asked all the same."""
    given = ["one.svc:1", "nowhere.svc:1", "unix:///run/x.sock"]
    assert expanded(given, found) == tuple(map(Sidecar, given))


def test_the_addresses_of_a_name_are_of_one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an IPv4 and an IPv6 address is one machine: asked twice, it would be two owners."""
    v4, v6 = socket.AF_INET, socket.AF_INET6
    answers: list[tuple[socket.AddressFamily, str]] = []

    def getaddrinfo(host: str, port: None, **_: object) -> list[tuple[object, ...]]:
        return [(family, socket.SOCK_STREAM, 6, "", (where, 0)) for family, where in answers]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    answers[:] = [(v6, "::1"), (v4, "127.0.0.1")]
    assert addresses.look_up("localhost") == ["::1"]
    answers[:] = [(v6, "fd00::3"), (v4, "10.0.0.3"), (v4, "10.0.0.4"), (v4, "10.0.0.4")]
    assert addresses.look_up("pods.svc") == PODS


def test_the_certificate_is_for_the_name_that_was_given() -> None:
    tls = Tls()
    assert Sidecar("10.0.0.3:1", "pods.svc").tls(tls) == Tls(name="pods.svc")
    assert Sidecar("10.0.0.3:1", "pods.svc").tls(Tls(name="pinned")) == Tls(name="pinned")
    assert Sidecar("10.0.0.3:1").tls(tls) == tls
    assert Sidecar("10.0.0.3:1", "pods.svc").tls(None) is None


MEMBERS = [Member(host, "kafka-sidecar", frozenset()) for host in ("10.0.0.3", "fd00::4", "10.0.0.3")]


@pytest.mark.parametrize("listen", ["0.0.0.0:7000", "10.0.0.3:7000"])
def test_members_of_a_group_listen_on_the_port_of_the_config(listen: str) -> None:
    assert of_members(MEMBERS, listen) == ["10.0.0.3:7000", "[fd00::4]:7000"]


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("127.0.0.1:7000", "is reachable from its own machine only"),
        ("unix:///run/sidecar.sock", "is reachable from its own machine only"),
        ("0.0.0.0:0", "means any free port"),
    ],
)
def test_who_listens_for_its_machine_only_is_not_found_by_its_group(listen: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"server.listen is {listen}, which {why}, .* give the addresses: --address"):
        of_members(MEMBERS, listen)


@pytest.mark.parametrize(
    ("shown", "host"),
    [
        ("/10.0.0.3", "10.0.0.3"),
        ("pod-3.svc/10.0.0.3", "10.0.0.3"),
        ("/0:0:0:0:0:0:0:1", "::1"),
        ("/fd00:0:0:0:0:0:0:4", "fd00::4"),
        ("/pod-3", "pod-3"),
    ],
)
def test_the_host_of_a_member_is_as_java_shows_it(shown: str, host: str) -> None:
    assert host_in(shown) == host
