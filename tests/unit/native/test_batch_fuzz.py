"""Random frames, whole and damaged: the decoder in C reads what protobuf and `_message` read, or leaves it to them.

The same frames in each run: `ROUNDS` times `FRAMES` of them, each round from a seed of its own.
"""

import ctypes
import os
import random

import pytest
from google.protobuf.message import DecodeError

from sdk_python import Message
from sdk_python._message import Columns, FrameError, check_batch
from sdk_python.protocol import lambda_pb2 as pb
from tests.unit.native.batches import UNKNOWN, batch, changed, damaged, framed, unpacked
from tests.unit.native.library import ROUNDS

_decoder = pytest.importorskip("sdk_python._decoder")

FRAMES = 20
READ, NOT_PLAIN, NO_MEMORY = range(3)


def expected(data: bytes) -> tuple[tuple[int, int, int], Columns] | None:
    """What protobuf makes of it; None: it refuses it, or it has no records."""
    try:
        frame = pb.HostFrame.FromString(data)
        if frame.WhichOneof("frame") != "batch":
            return None
        checked = check_batch(frame.batch)
    except (DecodeError, FrameError):
        return None
    return (checked, Columns(frame.batch, "t", 3)) if checked[0] else None


def agree(chance: random.Random, data: bytes, *, plain: bool) -> None:
    """``plain``: a writer of protobuf has made it, and it keeps the contract."""
    made, wanted = _decoder.decode(data), expected(data)
    if made is None:
        assert not plain
        return
    assert wanted is not None
    extent, columns = wanted
    assert (made.count, made.first_offset, made.last_offset) == extent
    assert [made.offset(index) for index in range(made.count)] == [
        columns.offset(index) for index in range(columns.count)
    ]
    limit = chance.randint(0, made.count + 2)
    assert made.first_headers(limit) == [*columns.first_headers(limit)]
    start = 0
    while start < made.count:  # in order as the dispatcher reads them, and now and then from another place
        if chance.random() < 0.1:
            start = chance.randrange(made.count)
        stop = start + chance.randint(0, made.count + 1)
        if chance.random() < 0.5:
            messages = made.messages(Message, "t", 3, start, stop)
            assert messages == columns.messages(start, stop)
            assert all(type(message) is Message for message in messages)
        else:
            other = columns.columns(start, stop)
            fields = (other.offsets, other.timestamps, other.timestamp_type, other.keys, other.values, other.headers)
            assert made.columns(start, stop) == fields
        start = stop


@pytest.mark.parametrize("seed", range(int(os.environ.get(ROUNDS, "100"))))
def test_a_batch_is_read_as_protobuf_reads_it(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(FRAMES):
        body = batch(chance).SerializeToString()
        agree(chance, framed(body), plain=True)
        agree(chance, framed(damaged(chance, body)), plain=False)
        agree(chance, framed(changed(chance, batch(chance)).SerializeToString()), plain=False)
        agree(chance, framed(body) + chance.randbytes(chance.choice([1, 3])), plain=False)
        agree(chance, chance.randbytes(chance.randrange(40)), plain=False)


def read(library: ctypes.CDLL, data: bytes) -> int:
    """Read a frame from memory of exactly its size, with all its records."""
    memory = (ctypes.c_char * len(data)).from_buffer_copy(data)
    code: int = library.played_batch(ctypes.cast(memory, ctypes.c_char_p), len(data))
    return code


@pytest.mark.parametrize("seed", range(int(os.environ.get(ROUNDS, "100"))))
def test_nothing_outside_of_a_frame_is_read(library: ctypes.CDLL, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(FRAMES):
        body = batch(chance).SerializeToString()
        assert read(library, framed(body)) == READ
        for data in (framed(damaged(chance, body)), framed(body)[: chance.randrange(len(body))]):
            assert (read(library, data) == READ) == (_decoder.decode(data) is not None)


def test_memory_may_run_out(library: ctypes.CDLL) -> None:
    ctypes.c_long.in_dll(library, "played_memory").value = 0
    data = framed(pb.Batch(first_offset=1, offsets=[1, 3], values=[b"a", b"b"]).SerializeToString())
    assert read(library, data) == NO_MEMORY


@pytest.mark.parametrize("unknown", UNKNOWN[:-1])
def test_a_field_of_a_newer_contract_costs_nothing_at_the_end_and_is_no_entry_of_a_list(unknown: bytes) -> None:
    head = pb.Batch(values=[b"a"]).SerializeToString()
    assert _decoder.decode(framed(head + unknown)).count == 1
    assert _decoder.decode(framed(head + unknown + head)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",  # no records
        unpacked(pb.Batch(values=[b"a"], timestamps=[1]).SerializeToString()),
        pb.Batch(values=[b"a"], null_values=[0]).SerializeToString() + pb.Batch(null_values=[0]).SerializeToString(),
        pb.Batch(values=[b"a"]).SerializeToString() + pb.Batch(first_offset=1).SerializeToString(),
        b"\x32\x01a\x3a\x05\x80\x80\x80\x80\x10",  # the null key 2^32, which protobuf cuts to 0
        b"\x08" + b"\xff" * 9 + b"\x02" + b"\x32\x01a",  # no number of 64 bits
    ],
)
def test_what_is_not_plain_is_for_protobuf(body: bytes) -> None:
    assert _decoder.decode(framed(body)) is None
