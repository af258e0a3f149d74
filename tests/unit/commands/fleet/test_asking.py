"""Several sidecars are asked at once, and each answer counts once."""

import threading

import grpc
import pytest

from sdk_python._tls import Tls
from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands import client
from sidecar.commands.fleet.addresses import Fleet, Sidecar
from sidecar.commands.fleet.asking import Answered, Failed, ask_all, once_each

from .answers import FAILED, HERE, LOST, THERE, answered


class Refusal(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.PERMISSION_DENIED

    def details(self) -> str:
        return "only \x1b[31mreading\x1b[0m"


def test_all_are_asked_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3, timeout=30)

    def status(address: str, token: str | None, tls: Tls | None) -> pb.StatusResponse:
        assert (token, tls) == ("t", None)
        together.wait()
        if address == LOST.address:
            raise Refusal
        return answered(Sidecar(address), [1]).status

    monkeypatch.setattr(client, "status", status)
    here, lost, there = ask_all(Fleet((HERE, LOST, THERE), "t", None))
    assert here == answered(HERE, [1])
    assert there == answered(THERE, [1])
    assert isinstance(lost, Failed)
    assert lost.reason == f"the sidecar at {LOST.address} refuses: only \\x1b[31mreading\\x1b[0m"


def test_only_the_lambdas_of_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    both = answered(HERE, [1], group="g").status
    both.lambdas.extend(answered(HERE, [2], group="h").status.lambdas)
    monkeypatch.setattr(client, "status", lambda *_: both)
    [one] = ask_all(Fleet((HERE,), None, None, "h"))
    assert isinstance(one, Answered)
    assert [hosted.group for hosted in one.status.lambdas] == ["h"]


def test_a_sidecar_at_two_addresses_is_one_sidecar() -> None:
    first, other = answered(HERE, [1], pid=7), answered(THERE, [2], pid=8)
    again = answered(LOST, [1], pid=7)
    assert once_each([first, FAILED, other, again]) == [first, FAILED, other]


def test_old_sidecars_do_not_say_who_they_are() -> None:
    answers = [answered(HERE, []), answered(THERE, [])]
    assert once_each(answers) == answers
