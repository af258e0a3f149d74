"""What of the sidecar's state everybody may read."""

from __future__ import annotations

from sdk_python.protocol import admin_pb2 as pb
from sidecar.operate.page.plain import MAX_CHARACTERS, MAX_REASON_CHARACTERS, clean, plain


def test_fields_have_the_names_of_the_contract_and_empty_ones_are_left_out() -> None:
    partition = pb.Partition(
        topic="raw", state=pb.PARTITION_STATE_HALTED, committed=0, end=2**40, skipping=["a", "b"]
    )
    partition.last_error.at_ms = 5
    status = pb.StatusResponse(version="1", lambdas=[pb.Lambda(name="deli", partitions=[partition])])
    assert plain(status) == {
        "version": "1",
        "lambdas": [
            {
                "name": "deli",
                "partitions": [
                    {
                        "topic": "raw",
                        "state": "PARTITION_STATE_HALTED",
                        "committed": 0,
                        "end": 2**40,
                        "skipping": ["a", "b"],
                        "last_error": {"at_ms": 5},
                    }
                ],
            }
        ],
    }


def test_a_state_of_a_newer_contract_is_its_number() -> None:
    assert plain(pb.Partition(state=99)) == {"state": 99}  # type: ignore[arg-type]


def test_texts_are_made_visible_masked_and_short() -> None:
    partition = pb.Partition(reason="\x1b[2J" + "x" * 500, skipping=["a\u202eb"])
    partition.last_error.text = "mongodb://me:secret@host is away" + "y" * 500
    problem = pb.Problem(text="p" * 2000)
    status = pb.StatusResponse(lambdas=[pb.Lambda(partitions=[partition], problems=[problem])])
    clean(status)
    [one] = status.lambdas
    [cleaned] = one.partitions
    assert cleaned.reason.startswith("\\x1b[2Jxxx")
    assert len(cleaned.reason) == MAX_REASON_CHARACTERS + len("\\x1b") - 1
    assert cleaned.last_error.text.startswith("mongodb://me:****@host is away")
    assert len(cleaned.last_error.text) == MAX_REASON_CHARACTERS
    assert cleaned.skipping == ["a\\u202eb"]
    assert len(one.problems[0].text) == MAX_CHARACTERS


def test_a_password_is_masked_though_the_text_is_cut_within_it() -> None:
    url = "https://me:verysecret@host"
    partition = pb.Partition(reason="x" * (MAX_REASON_CHARACTERS - 15) + url)
    clean(partition)
    assert "very" not in partition.reason


def test_the_id_of_a_process_stays_between_it_and_the_sidecar() -> None:
    """Who knows it can speak in the process's name."""
    nameless = pb.Process(process_id="secret-2", instance="secret-2")
    one = pb.Lambda(
        processes=[pb.Process(process_id="secret-1", instance="billing-1"), nameless],
        partitions=[pb.Partition(process_id="secret-2")],
    )
    clean(one)
    assert "secret" not in str(one)
    assert one.processes[0].instance == "billing-1"
    assert one.partitions[0].process_id == one.processes[1].process_id != one.processes[0].process_id
