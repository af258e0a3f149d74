"""The operator's commands with a real gRPC server: requests, outputs, and refusals."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from sdk_python.protocol import admin_pb2 as pb

from .operator_lab import TARGET, Admin, Invoke

WHERE: Any = {"lambda_name": "deli", "topic": "rawdeltas", "partition": 3}
RUNNING, HALTED, PAUSED = pb.PARTITION_STATE_RUNNING, pb.PARTITION_STATE_HALTED, pb.PARTITION_STATE_PAUSED


# --- seek -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("17", {"offset": 17}),
        ("0", {"offset": 0}),
        ("2026-11-24T14:05:00Z", {"timestamp_ms": 1_795_529_100_000}),
        ("@0", {"timestamp_ms": 0}),
        ("earliest", {"edge": pb.EDGE_EARLIEST}),
        ("latest", {"edge": pb.EDGE_LATEST}),
    ],
)
def test_seek_sends_the_offset_spec(invoke: Invoke, admin: Admin, to: str, expected: Any) -> None:
    admin.answer = pb.SeekResponse(from_offset=17, was_at=17, state=RUNNING)
    assert invoke("seek", TARGET, "--to", to, "--address", admin.address).exit_code == 0
    assert admin.asked == [pb.SeekRequest(**WHERE, **expected)]
    assert admin.asked[0].WhichOneof("to") == next(iter(expected))


@pytest.mark.parametrize(
    ("was_at", "state", "expected"),
    [
        (1500, RUNNING, ["goes on from offset 1000; it was at 1500, so about 500 records are handled again"]),
        (999, RUNNING, ["goes on from offset 1000; it was at 999, so about 1 record is left out"]),
        (1000, RUNNING, ["goes on from offset 1000; that is where it was"]),
        (
            0,
            HALTED,
            ["will go on from offset 1000; it was at 0, so about 1000 records are left out", "It is still halted"],
        ),
        (
            1001,
            PAUSED,
            ["will go on from offset 1000; it was at 1001, so about 1 record is handled again", "It is still paused"],
        ),
    ],
)
def test_seek_says_what_happens(invoke: Invoke, admin: Admin, was_at: int, state: Any, expected: list[str]) -> None:
    admin.answer = pb.SeekResponse(from_offset=1000, was_at=was_at, state=state)
    result = invoke("seek", TARGET, "--to", "1000", "--address", admin.address)
    assert result.exit_code == 0
    first, *more = expected
    resume = f"; this lets it go on: kafka-sidecar resume {TARGET}"
    assert result.output.splitlines() == [f"{TARGET} {first}", *(f"{one}{resume}" for one in more)]


def test_seek_says_which_time_was_understood(invoke: Invoke, admin: Admin) -> None:
    admin.answer = pb.SeekResponse(from_offset=5, was_at=5, state=RUNNING)
    result = invoke("seek", TARGET, "--to", "2026-11-24T16:05:00+02:00", "--address", admin.address)
    assert result.output.splitlines()[1:] == ["The time was understood as 2026-11-24T14:05:00Z."]


def test_seek_needs_an_offset_spec(invoke: Invoke, admin: Admin) -> None:
    missing = invoke("seek", TARGET, "--address", admin.address)
    assert missing.exit_code == 2
    assert "Missing option '--to'" in missing.stderr
    wrong = invoke("seek", TARGET, "--to", "noon", "--address", admin.address)
    assert wrong.exit_code == 2
    said = " ".join(wrong.stderr.split())
    for form in (
        "'--to'",
        "(1234)",
        "(2026-11-24T14:05:00Z;",
        "(@1790000000000)",
        "earliest and latest",
        "not 'noon'",
    ):
        assert form in said
    assert admin.asked == []


# --- pause, resume --------------------------------------------------------------------------------------------------


def test_pause(invoke: Invoke, admin: Admin) -> None:
    admin.answer = pb.PauseResponse(from_offset=12)
    result = invoke("pause", TARGET, "--reason", "a migration", "--address", admin.address)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"{TARGET} stands still. It goes on from offset 12 with: kafka-sidecar resume {TARGET}",
        "The pause holds as long as this sidecar owns the partition.",
    ]
    assert invoke("pause", TARGET, "--address", admin.address).exit_code == 0
    assert admin.asked == [pb.PauseRequest(**WHERE, reason="a migration"), pb.PauseRequest(**WHERE)]


def test_resume(invoke: Invoke, admin: Admin) -> None:
    admin.answer = pb.ResumeResponse(from_offset=12)
    result = invoke("resume", TARGET, "--address", admin.address)
    assert (result.exit_code, result.output) == (0, f"{TARGET} goes on from offset 12\n")
    admin.answer = pb.ResumeResponse(from_offset=12, skipped=13)
    result = invoke("resume", TARGET, "--skip", "--address", admin.address)
    assert result.output == f"{TARGET} goes on from offset 12, leaving out offset 13\n"
    assert admin.asked == [pb.ResumeRequest(**WHERE), pb.ResumeRequest(**WHERE, skip=True)]


@pytest.mark.parametrize("command", [("resume",), ("pause",), ("seek", "--to", "1")])
def test_an_invalid_target_or_address_is_refused(invoke: Invoke, command: tuple[str, ...]) -> None:
    wrong = invoke(*command, "deli")
    assert wrong.exit_code == 2
    assert "'LAMBDA/TOPIC/PARTITION[.LANE]': expected LAMBDA/TOPIC/PARTITION, as in" in wrong.stderr
    wrong = invoke(*command, TARGET, "--address", "nonsense")
    assert wrong.exit_code == 2
    assert "expected host:port" in wrong.stderr


# --- the sidecar says no, or nothing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (grpc.StatusCode.OUT_OF_RANGE, "the log has 5 to 9", "refuses: the log has 5 to 9"),
        (grpc.StatusCode.UNAVAILABLE, "Kafka does not answer", "says: Kafka does not answer"),
        (grpc.StatusCode.UNAUTHENTICATED, "token missing", "refuses the token (token missing); --token, $KAFKA"),
    ],
)
def test_a_refusal(invoke: Invoke, admin: Admin, code: grpc.StatusCode, text: str, expected: str) -> None:
    admin.answer = (code, text)
    result = invoke("seek", TARGET, "--to", "1", "--address", admin.address)
    assert result.exit_code == 1
    assert f"the sidecar at {admin.address} {expected}" in result.stderr


def test_no_sidecar_answers(invoke: Invoke, tmp_path: Path) -> None:
    for address in (f"unix://{tmp_path}/none.sock", "127.0.0.1:1"):
        result = invoke("status", "--address", address)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: no sidecar answers at {address} (")


def test_the_token_is_sent(invoke: Invoke, admin: Admin) -> None:
    admin.answer = pb.StatusResponse()
    invoke("status", "--address", admin.address, "--token", "t")
    invoke("status", "--address", admin.address, KAFKA_SIDECAR_TOKEN="u", KAFKA_SIDECAR_ADMIN_TOKEN="v")
    invoke("status", "--address", admin.address)
    assert admin.tokens == ["Bearer t", "Bearer v", None]
