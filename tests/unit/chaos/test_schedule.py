"""The seed decides everything; and Kafka's own formats are read."""

from __future__ import annotations

import struct

import pytest

from tests.chaos import offsets, schedule, soak
from tests.chaos.folder import Clock


def test_same_seed_same_schedule() -> None:
    assert schedule.make(7, 100) == schedule.make(7, 100)
    assert schedule.make(7, 100) != schedule.make(8, 100)


@pytest.mark.parametrize("seed", range(20))
def test_schedules_make_sense(seed: int) -> None:
    plan = schedule.make(seed, 200)
    assert len({step.fault for step in plan.steps}) == 200
    assert [step.at for step in plan.steps] == sorted(step.at for step in plan.steps)
    down: set[str] = set()
    lambdas = {*plan.lambdas}
    partitions = schedule.PARTITIONS
    for step in plan.steps:
        sidecars_down = {one for one in down if one in schedule.SIDECARS}
        assert len(sidecars_down) < len(schedule.SIDECARS), "one sidecar always stays"
        if step.verb in ("kill", "terminate", "freeze"):
            assert step.target not in down, "no fault meets what is down already"
            down.add(step.target)
        elif step.verb == "grow":
            assert partitions < step.amount <= schedule.MAX_PARTITIONS
            partitions = step.amount
        elif step.verb in ("raise", "restart", "seek"):
            assert int(step.target) < partitions, "a partition that is there"
        elif step.verb in ("start", "thaw"):
            assert step.target in down or step.kind == "lambda-join"
            down.discard(step.target)
            lambdas.add(step.target)


def test_kinds_can_be_left_out_and_sidecars_protected() -> None:
    plan = schedule.make(1, 300, without=["seek"], protected=["a"])
    assert "seek" not in {step.kind for step in plan.steps}
    assert "a" not in {step.target for step in plan.steps}
    kinds = {step.kind for step in schedule.make(1, 300).steps}
    assert kinds == {*schedule.WEIGHTS}, "every kind comes"


KEY = b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x02"


def test_commits_of_every_version_are_read() -> None:
    wall = struct.pack(">q", 1_700_000_000_500)
    values = {
        0: struct.pack(">hq", 0, 5) + b"\x00\x00" + wall,
        1: struct.pack(">hq", 1, 5) + b"\x00\x00" + wall + bytes(8),
        2: struct.pack(">hq", 2, 5) + b"\x00\x04abc\x00" + wall,  # as `confluent-kafka` writes it
        3: struct.pack(">hqi", 3, 5, -1) + b"\xff\xff" + wall,
        4: struct.pack(">hqi", 4, 5, 0) + b"\x01" + wall + b"\x01\x00\x10" + bytes(16),
    }
    for version, value in values.items():
        metadata = "abc" if version == 2 else ""
        assert offsets.parse(KEY, value) == offsets.CommitRecord("g", "t", 2, 5, 1_700_000_000.5, metadata), version
    assert offsets.parse(KEY, None) == offsets.CommitRecord("g", "t", 2, None, 0.0)
    with pytest.raises(offsets.UnknownFormatError, match="OffsetCommitValue version 9"):
        offsets.parse(KEY, struct.pack(">hq", 9, 5))
    assert offsets.parse(b"\x00\x07", b"") is None
    assert offsets.parse(None, b"") is None


def test_assignments_are_read() -> None:
    """As Kafka 4.3 has written it."""
    value = (
        b"\x00\x03\x00\x08consumer\x00\x00\x00\x01\x00\x12cooperative-sticky\x00\x02id\x00\x00\x01\xa2\r\xed(\x9d"
        b"\x00\x00\x00\x01\x00\x02id\xff\xff\x00\x04sc-1\x00\n/127.0.0.1\x00\x04\x93\xe0\x00\x00\x0b\xb8"
        b"\x00\x00\x00\x02ab\x00\x00\x00\x19\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02"
        b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"
    )
    who = ("id", "sc-1")
    assert offsets.parse(b"\x00\x02\x00\x01g", value) == offsets.GroupRecord("g", 1, {("t", 0): who, ("t", 1): who})
    empty = b"\x00\x03\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x01\xa2\r\xed(\x8b\x00\x00\x00\x00"
    assert offsets.parse(b"\x00\x02\x00\x01g", empty) == offsets.GroupRecord("g", 0, {})


def test_clock_follows_the_nearest_line() -> None:
    clock = Clock([{"wall": 100.0, "at": 10.0}, {"wall": 200.0, "at": 109.5}])
    assert clock.at(101.0) == pytest.approx(11.0)
    assert clock.at(199.0) == pytest.approx(108.5)
    assert clock.drift == pytest.approx(0.5)


def test_soak_judges_medians() -> None:
    flat = [soak.Sample(at, 100_000 + at % 7, 30 + at % 2, 12) for at in range(0, 1800, 10)]
    assert all(verdict.flat for verdict in soak.judge("x", flat))
    leaking = [soak.Sample(one.at, one.rss + int(one.at * 10), one.fds, one.threads) for one in flat]
    assert [verdict.measure for verdict in soak.judge("x", leaking) if not verdict.flat] == ["rss"]
    forgetting = [soak.Sample(one.at, one.rss, one.fds + int(one.at) // 300, one.threads) for one in flat]
    assert [verdict.measure for verdict in soak.judge("x", forgetting) if not verdict.flat] == ["fds"]
    assert "GROWS" in soak.table(soak.judge("x", forgetting))
    with pytest.raises(ValueError, match="too few"):
        soak.judge("x", flat[:31])


def test_every_language_works_at_once_and_a_slot_takes_the_next_with_each_start() -> None:
    spoken = ("python", "go", "typescript", "java")
    plan = schedule.make(7, 1, processes=2)
    first = [schedule.language(spoken, slot, 1) for slot in plan.lambdas]
    assert len(plan.lambdas) == 6
    assert {*first} == {*spoken}
    assert [schedule.language(spoken, "a/1", start) for start in range(1, 6)] == [*spoken, "python"]
