"""Frames by the decoder in C and by protobuf: the same records, and the same refusals."""

import os
import subprocess
import sys

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings, strategies as st

from sdk_python import Message, _decoding
from sdk_python._decoding import AnyBatch, columns_in, count_of, extent, frame_of
from sdk_python._message import FrameError, batch_of
from sdk_python._native import SWITCH
from sdk_python.protocol import lambda_pb2 as pb
from tests.unit.sdk.test_message import REFUSED, frames

pytest.importorskip("sdk_python._decoder")


def parsed(data: bytes) -> pb.HostFrame:
    """The frame as protobuf parses it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_decoding, "_decode", None)
        frame = frame_of(data)
    assert isinstance(frame, pb.HostFrame)
    return frame


def decoded(messages: list[Message]) -> tuple[AnyBatch, pb.Batch]:
    """The batch of these messages, read by the decoder and by protobuf."""
    data = pb.HostFrame(batch=batch_of(messages)).SerializeToString()
    batch = frame_of(data)
    assert not isinstance(batch, pb.HostFrame)
    return batch, parsed(data).batch


@given(frames(), st.lists(st.integers(0, 9), max_size=4))
@settings(deadline=None)
def test_both_read_the_same_wherever_slices_are_cut(messages: list[Message], cuts: list[int]) -> None:
    one, other = decoded(messages)
    assert extent(one) == extent(other)
    assert count_of(one) == count_of(other) == len(messages)
    native, python = columns_in(one, "topic", 3), columns_in(other, "topic", 3)
    assert native.count == python.count
    made: list[Message] = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 10], strict=True):
        made += native.messages(start, stop)
    assert made == messages
    assert native.messages(0, 10) == python.messages(0, 10) == messages  # from the beginning again
    for cut in (0, *cuts):
        assert native.columns(cut, 9) == python.columns(cut, 9)
        assert [*native.first_headers(cut)] == [*python.first_headers(cut)]
        if cut < native.count:
            assert native.offset(cut) == python.offset(cut) == messages[cut].offset


@pytest.mark.parametrize(("batch", "field"), REFUSED)
def test_what_breaks_the_contract_is_refused_with_the_field(batch: pb.Batch, field: str) -> None:
    frame = frame_of(pb.HostFrame(batch=batch).SerializeToString())
    assert isinstance(frame, pb.HostFrame)
    with pytest.raises(FrameError, match=field):
        extent(frame.batch)


def test_a_frame_that_was_cut_is_refused_as_protobuf_refuses_it() -> None:
    data = pb.HostFrame(batch=pb.Batch(values=[b"abc"])).SerializeToString()
    with pytest.raises(DecodeError):
        frame_of(data[:-1])


def test_frames_without_records_are_protobufs() -> None:
    for frame in (pb.HostFrame(), pb.HostFrame(resumed=pb.Resumed(number=1)), pb.HostFrame(batch=pb.Batch())):
        assert frame_of(frame.SerializeToString()) == frame


def test_an_index_outside_of_the_batch_is_refused() -> None:
    batch, _ = decoded([Message("t", 0, 7, None, 0, None, b"a", ())])
    columns = columns_in(batch, "t", 0)
    for index in (-1, 1):
        with pytest.raises(IndexError):
            columns.offset(index)
    for start, stop in ((-1, 1), (1, 0)):
        with pytest.raises(IndexError):
            columns.messages(start, stop)
    assert columns.messages(5, 9) == []


def test_a_batch_holds_nothing_after_its_end() -> None:
    """Neither of its frame, nor of what its records had in common."""
    topic = str(object())
    message = Message(topic, 0, 7, 5, 1, b"key", b"value", (("name", b"a"), ("name", None)))
    data = pb.HostFrame(batch=batch_of([message])).SerializeToString()
    counted = (topic, data, None, Message)
    before = [sys.getrefcount(one) for one in counted]
    for _ in range(1_000):
        batch = frame_of(data)
        assert not isinstance(batch, pb.HostFrame)
        columns = columns_in(batch, topic, 0)
        assert columns.messages(0, 1) == [message]
        assert columns.columns(0, 1).values == [b"value"]
        del batch, columns
    after = [sys.getrefcount(one) for one in counted]
    assert all(abs(now - then) < 10 for now, then in zip(after, before, strict=True))


def test_the_decoder_can_be_turned_off() -> None:
    code = "from sdk_python import _decoding; print(_decoding._decode)"
    for value, shown in (("0", "None"), ("1", "<built-in function decode>")):
        environment = {**os.environ, SWITCH: value}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == shown
