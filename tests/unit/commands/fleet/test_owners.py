"""Which of several sidecars owns a partition, and how it gets an order."""

from collections.abc import Callable, Sequence

import grpc
import pytest

from sidecar.commands.fleet.addresses import Fleet, Sidecar
from sidecar.commands.fleet.asking import Answer
from sidecar.commands.fleet.orders import PAUSE_S, ROUNDS, OrderError, send_to_owner
from sidecar.commands.fleet.owners import NoOwner, Owner, find_owner
from sidecar.commands.target import Target

from .answers import FAILED, HERE, LOST, THERE, answered

TARGET = Target("deli", "raw", 3)
FLEET = Fleet((HERE, THERE), None, None)
BEFORE = [answered(HERE, [3]), answered(THERE, [4])]
AFTER = [answered(HERE, []), answered(THERE, [3, 4])]
NOBODY = [answered(HERE, []), answered(THERE, [4])]
BOTH = [answered(HERE, [3]), answered(THERE, [3, 4])]


class Refusal(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "raw/3 is not assigned to this sidecar now"


def reason(answers: Sequence[Answer], target: Target = TARGET) -> tuple[str, bool]:
    found = find_owner(answers, target)
    assert isinstance(found, NoOwner)
    return found


def test_the_owner() -> None:
    assert find_owner(BEFORE, TARGET) == Owner(HERE)
    assert find_owner(AFTER, TARGET) == Owner(THERE)
    assert find_owner([FAILED, answered(THERE, [3])], TARGET) == Owner(THERE)
    assert find_owner([answered(HERE, [3], name="other"), answered(THERE, [3])], TARGET) == Owner(THERE)


def test_nobody() -> None:
    text, may_change = reason(NOBODY)
    assert "no sidecar owns deli/raw/3 now; kafka-sidecar status shows" in text
    assert may_change
    text, may_change = reason([*NOBODY, FAILED])
    assert f"one that did not answer may own it: no answer from {LOST.address}" in text
    assert not may_change
    text, may_change = reason(NOBODY, Target("eco", "raw", 3))
    assert text == "no sidecar has a lambda 'eco'; there are: deli"
    assert not may_change
    assert reason([FAILED]) == (FAILED.reason, False)
    text, may_change = reason([FAILED, FAILED])
    assert text == f"none of 2 sidecars answered:\n  {FAILED.reason}\n  {FAILED.reason}"


def test_two_owners() -> None:
    text, may_change = reason(BOTH)
    assert text.startswith(f"{HERE.address} and {THERE.address} both say that they own deli/raw/3")
    assert "nothing was sent to either" in text
    assert may_change
    text, may_change = reason([answered(HERE, [3], group="g"), answered(THERE, [3], group="h")])
    assert "several groups, g and h" in text
    assert "--address" in text
    assert not may_change


class Play:
    """Plays what the sidecars answer, round by round, and what the owner says to the order."""

    def __init__(self, rounds: Sequence[Sequence[Answer]], *refusals: grpc.StatusCode) -> None:
        self._rounds = [*rounds]
        self._refusals = [*refusals]
        self.sent: list[Sidecar] = []
        self.notes: list[str] = []
        self.slept: list[float] = []

    def run(self, fleet: Fleet = FLEET) -> tuple[Sidecar, str]:
        def ask(_: Fleet) -> Sequence[Answer]:
            return self._rounds.pop(0) if len(self._rounds) > 1 else self._rounds[0]

        sleep: Callable[[float], None] = self.slept.append
        return send_to_owner(fleet, TARGET, self._send, self.notes.append, ask=ask, sleep=sleep)

    def _send(self, sidecar: Sidecar) -> str:
        self.sent.append(sidecar)
        if self._refusals:
            raise Refusal(self._refusals.pop(0))
        return "done"


def test_the_order_goes_to_the_owner() -> None:
    play = Play([AFTER])
    assert play.run() == (THERE, "done")
    assert (play.sent, play.notes, play.slept) == ([THERE], [], [])


def test_a_lone_sidecar_gets_the_order_without_a_question() -> None:
    play = Play([])
    assert play.run(Fleet((HERE,), None, None)) == (HERE, "done")
    with pytest.raises(OrderError, match=r"not assigned .*; if another sidecar of its group may own it, give all"):
        Play([], grpc.StatusCode.NOT_FOUND).run(Fleet((HERE,), None, None))


def test_the_owner_changes_between_question_and_order() -> None:
    play = Play([BEFORE, NOBODY, BOTH, AFTER], grpc.StatusCode.NOT_FOUND)
    assert play.run() == (THERE, "done")
    assert play.sent == [HERE, THERE]
    assert play.slept == [PAUSE_S] * 3
    first, second, third = play.notes
    assert "not assigned to this sidecar now. Asking all of them again" in first
    assert "no sidecar owns deli/raw/3 now" in second
    assert "both say that they own" in third


@pytest.mark.parametrize("code", [grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.FAILED_PRECONDITION])
def test_an_order_that_may_have_been_carried_out_is_not_sent_again(code: grpc.StatusCode) -> None:
    play = Play([BEFORE, AFTER], code)
    with pytest.raises(OrderError):
        play.run()
    assert play.sent == [HERE]


@pytest.mark.parametrize(("answers", "sent"), [(BOTH, 0), (NOBODY, 0), (BEFORE, ROUNDS)])
def test_it_ends_with_the_reason(answers: Sequence[Answer], sent: int) -> None:
    play = Play([answers], *[grpc.StatusCode.NOT_FOUND] * ROUNDS)
    with pytest.raises(OrderError):
        play.run()
    assert len(play.sent) == sent
    assert len(play.slept) == len(play.notes) == ROUNDS - 1
