"""Tests of the checks: each accepts a correct history and says what is wrong with an incorrect one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.integration import checks
from tests.integration.history import Event

PRODUCED = [(0, 0), (0, 1), (0, 3), (0, 4)]  # there is no record 2


def history(*steps: str, partition: int = 0) -> list[Event]:
    """`a+3`: lambda a is created at 3; `a3`: it handles 3; `a!3`: it checkpoints 3; `a-`: it is closed."""

    def events() -> Iterator[Event]:
        clock = count()
        for step in steps:
            lease, mark, number = step[0], step[1], step[1:].lstrip("+!-")
            where = {"process": f"p{lease}", "lease": lease, "partition": partition}
            at = float(next(clock))
            if mark == "+":
                yield Event("created", at, **where, start=int(number))  # type: ignore[arg-type]
            elif mark == "!":
                yield Event("checkpointed", at, **where, offset=int(number))  # type: ignore[arg-type]
            elif mark == "-":
                yield Event("closed", at, **where)  # type: ignore[arg-type]
            else:
                yield Event("handled", at, **where, offset=int(number))  # type: ignore[arg-type]

    return [*events()]


GOOD = history("a+0", "a0", "a1", "a!1", "a-", "b+2", "b3", "b4", "b!4", "b-")


def test_good_history() -> None:
    checks.all_handled_once(PRODUCED, GOOD)
    checks.gapless_leases(PRODUCED, GOOD)
    checks.leases_go_on(GOOD, exactly=True)
    checks.in_order(GOOD)
    assert checks.longest_gap(GOOD) == 4.0
    checks.all_handled_once(PRODUCED, [e for e in GOOD if e.offset != 3], left_out=[(0, 3)])


def test_lost_repeated_and_unknown_records_are_found() -> None:
    with pytest.raises(AssertionError, match=r"1 never handled, the first \(0, 4\)"):
        checks.all_handled(PRODUCED, history("a+0", "a0", "a1", "a3"))
    with pytest.raises(AssertionError, match="should not have been handled"):
        checks.all_handled(PRODUCED, history("a+0", "a0", "a1", "a2", "a3", "a4"))
    twice = history("a+0", "a0", "a1", "a3", "a4", "a-", "b+4", "b4")
    checks.all_handled(PRODUCED, twice)
    with pytest.raises(AssertionError, match="handled more than once"):
        checks.all_handled_once(PRODUCED, twice)
    with pytest.raises(AssertionError, match="came after 4"):
        checks.in_order(twice)


@pytest.mark.parametrize("steps", [["a+0", "a0", "a3"], ["a+0", "a1"], ["a+1", "a3"], ["a+0", "a1", "a0"]])
def test_a_gap_or_disorder_in_one_lease_is_found(steps: list[str]) -> None:
    with pytest.raises(AssertionError, match="and not"):
        checks.gapless_leases(PRODUCED, history(*steps))


def test_a_lambda_that_starts_at_a_wrong_offset_is_found() -> None:
    beyond = history("a+0", "a0", "a!0", "a1", "a-", "b+2")
    with pytest.raises(AssertionError, match="only done below 1"):
        checks.leases_go_on(beyond)
    below = history("a+0", "a0", "a1", "a!1", "a-", "b+1")
    checks.leases_go_on(below)
    with pytest.raises(AssertionError, match="at 1 and not at 2"):
        checks.leases_go_on(below, exactly=True)
    nothing_done = history("a+0", "a0", "a-", "b+1")
    with pytest.raises(AssertionError, match="only done below 0"):
        checks.leases_go_on(nothing_done)


def test_two_lambdas_of_one_partition_are_found() -> None:
    both = history("a+0", "a0", "a!0", "b+1")
    with pytest.raises(AssertionError, match="made while a is not closed"):
        checks.leases_go_on(both)
    checks.leases_go_on(both, killed={"pa"})


def test_committed_offsets() -> None:
    assert checks.caught_up({0: 5}, {0: 5, 1: 0})
    assert not checks.caught_up({0: 5}, {0: 5, 1: 1})
