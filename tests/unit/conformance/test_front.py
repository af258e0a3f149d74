"""The frames of HTTP/2 that the front looks for, however the bytes are cut."""

from __future__ import annotations

import pytest

from sidecar.conformance.front import Http2Reader


def _frame(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + bytes(4) + payload


@pytest.mark.parametrize("size", [1, 2, 7, 9, 10, 1000])
def test_frames_in_pieces(size: int) -> None:
    frames = [(4, 0, b""), (0, 1, b"x" * 300), (7, 0, bytes(7) + b"\x0btoo_many_pings")]
    data = b"".join(_frame(kind, payload, flags) for kind, flags, payload in frames)
    reader = Http2Reader()
    found = [frame for at in range(0, len(data), size) for frame in reader.feed(data[at : at + size])]
    assert found == frames


def test_nothing_before_a_frame_is_complete() -> None:
    reader = Http2Reader()
    data = _frame(6, bytes(8))
    assert reader.feed(data[:-1]) == []
    assert reader.feed(data[-1:]) == [(6, 0, bytes(8))]
