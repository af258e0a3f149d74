"""The operator's commands and several sidecars, with real gRPC servers."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.fleet import members
from sidecar.commands.fleet.members import MembersError

from .operator_lab import TARGET, Invoke, Serve


def owning(version: str, *partitions: int) -> pb.StatusResponse:
    """The answer of a sidecar that owns these partitions."""
    owned = [pb.Partition(topic="rawdeltas", partition=one) for one in partitions]
    return pb.StatusResponse(version=version, lambdas=[pb.Lambda(name="deli", group="g", partitions=owned)])


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens: its port is taken by a socket that does not."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_status_of_several(invoke: Invoke, serve: Serve) -> None:
    first, second = serve(), serve()
    first.answer, second.answer = owning("1.1", 0), owning("1.2", 1)
    for given in (
        ("--address", f"{first.address},{second.address}"),
        ("--address", first.address, "--address", second.address),
    ):
        result = invoke("status", *given, "--token", "t")
        assert result.exit_code == 0, result.output
        for text in ("kafka-sidecar 1.1", "kafka-sidecar 1.2", "SIDECAR", "rawdeltas/0", "rawdeltas/1"):
            assert text in result.stdout
    assert set(first.tokens) == set(second.tokens) == {"Bearer t"}
    variable = f"{first.address},{second.address}"
    shown = json.loads(invoke("status", "--json", KAFKA_SIDECAR_ADDRESS=variable).stdout)
    assert [one["address"] for one in shown["sidecars"]] == [first.address, second.address]


def test_the_answers_of_the_others_are_shown(invoke: Invoke, serve: Serve, nobody: str) -> None:
    admin = serve()
    admin.answer = owning("1.1", 0)
    result = invoke("status", "--address", f"{nobody},{admin.address}")
    assert result.exit_code == 3
    assert f"problem: no sidecar answers at {nobody} (" in result.stdout
    assert "does it run? --address says where to dial" in result.stdout
    assert "rawdeltas/0" in result.stdout
    result = invoke("status", "--address", f"{nobody},unix:///nowhere.sock")
    assert result.exit_code == 1
    assert "none of 2 sidecars answered:" in result.stderr
    assert result.stdout == ""


def test_all_addresses_of_a_name_are_asked(invoke: Invoke, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = serve()
    admin.answer = owning("1.1", 0)
    port = int(admin.address.rpartition(":")[2])
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host != "sidecars.example":
            return real(host, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (1, 77)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    result = invoke("status", "--address", f"dns:///sidecars.example:{port}")
    assert result.exit_code == 3
    assert f"no sidecar answers at 127.0.0.77:{port}" in result.stdout
    assert f"127.0.0.1:{port}: kafka-sidecar 1.1" in result.stdout


def test_an_order_goes_to_the_owner(invoke: Invoke, serve: Serve) -> None:
    wrong, right = serve(), serve()
    wrong.answer, right.answer = owning("1.1", 0), owning("1.1", 3)
    right.then = {pb.PauseRequest: pb.PauseResponse(from_offset=5)}
    result = invoke("pause", TARGET, "--address", wrong.address, "--address", right.address)
    assert result.exit_code == 0, result.output
    assert "stands still. It goes on from offset 5" in result.stdout
    assert f"Done at {right.address}, which owns it." in result.stdout
    assert [type(one) for one in wrong.asked] == [pb.StatusRequest]
    assert [type(one) for one in right.asked] == [pb.StatusRequest, pb.PauseRequest]


def test_an_order_that_the_owner_refuses(invoke: Invoke, serve: Serve) -> None:
    wrong, right = serve(), serve()
    wrong.answer, right.answer = owning("1.1", 0), owning("1.1", 3)
    right.then = {pb.ResumeRequest: (grpc.StatusCode.FAILED_PRECONDITION, "it is neither halted nor paused")}
    result = invoke("resume", TARGET, "--address", f"{wrong.address},{right.address}")
    assert result.exit_code == 1
    assert f"the sidecar at {right.address} refuses: it is neither halted nor paused" in result.stderr


CONFIG = """
kafka: {bootstrap.servers: "127.0.0.1:1"}
server: {listen: "0.0.0.0:7000", token: secret}
lambdas: {deli: {topic: rawdeltas, group: g}}
"""


def test_the_token_of_the_config_is_not_for_the_hosts_that_kafka_names(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def asked(*_: object) -> None:
        raise MembersError("the group g has no members now")

    monkeypatch.setattr(members, "members_of", asked)
    Path("config.yaml").write_text(CONFIG)
    result = invoke("status", "--group", "g")
    assert result.exit_code == 2
    assert "Give --token (or its variable) to send it" in " ".join(result.stderr.split())
    assert invoke("status", "--group", "g", "--tls").exit_code == 2, "the system's authorities prove too little"
    (tmp_path / "ca.pem").touch()
    for given in (("--token", "t"), ("--tls-ca", "ca.pem")):  # now Kafka is asked
        result = invoke("status", "--group", "g", *given)
        assert (result.exit_code, result.stderr) == (1, "Error: the group g has no members now\n")


@pytest.mark.parametrize("listen", ["127.0.0.1:7000", "unix:///run/x.sock"])
def test_a_group_whose_sidecars_listen_for_their_machine_only(invoke: Invoke, listen: str) -> None:
    Path("config.yaml").write_text(CONFIG.replace("0.0.0.0:7000", listen))
    result = invoke("status", "--group", "g", "--token", "t")
    assert result.exit_code == 2
    assert "give the addresses: --address A --address B" in " ".join(result.stderr.split())


def test_with_addresses_the_group_chooses_the_lambdas(invoke: Invoke, serve: Serve) -> None:
    admin = serve()
    admin.answer = owning("1.1", 0)
    assert "rawdeltas/0" in invoke("status", "--address", admin.address, "--group", "g").stdout
    assert "rawdeltas/0" not in invoke("status", "--address", admin.address, "--group", "h").stdout
