"""Random lives of the rows, with memory that runs out now and then: frames say what protobuf and a list say.

The same lives in each run: `ROUNDS` of them, each from a seed of its own, which a failure names.
"""

import ctypes
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from tests.unit.native.library import ROUNDS

STEPS = 40
SIZES = [0, 0, 1, 2, 3, 20, 60, 126, 127, 128, 129, 300, 3_000, 16_383, 16_384]
LARGE = 70_000
LIMITS = [0, 1, 63, 64, 100, 200, 500, 5_000, 100_000, 1 << 40]
RECORD_OVERHEAD, FRAME_OVERHEAD, HEADER_OVERHEAD = 40, 64, 5
"""As `rows.c` has them: a frame ends only where the next record might not fit with these."""


@dataclass
class Row:
    """One record of the independent account."""

    offset: int
    stamp: int
    timestamp: int
    value: bytes | None
    key: bytes | None
    headers: list[tuple[bytes, bytes | None]] = field(default_factory=list)


class Life:
    """The rows under test, and what they should be."""

    def __init__(self, library: ctypes.CDLL, seed: int) -> None:
        self.library = library
        self.random = random.Random(seed)
        self.memory = ctypes.c_long.in_dll(library, "played_memory")
        self.at = ctypes.create_string_buffer(library.played_sizeof_rows())
        self.expected: list[Row] = []
        self.offset = self.random.choice([0, 0, 5, 1 << 33, (1 << 63) - 10_000])
        self.stamp = self.random.randrange(3)

    def blob(self) -> bytes | None:
        if self.random.random() < 0.15:
            return None
        size = LARGE if self.random.random() < 0.005 else self.random.choice(SIZES)
        return self.random.randbytes(size)

    def append(self) -> None:
        made = []
        for _ in range(self.random.randrange(1, 6)):
            self.offset += self.random.choice([1, 1, 1, 1, 1, 2, 30])
            if self.random.random() < 0.03:
                self.stamp = self.random.randrange(3)
            timestamp = self.random.choice([-1, 0, 1, 1_700_000_000_000, (1 << 63) - 1, -(1 << 63)])
            made.append(Row(self.offset, self.stamp, timestamp, self.blob(), self.blob()))
        if not self.reserved(made):
            return
        for row in made:
            key, value = (row.key, len(row.key or b"")), (row.value, len(row.value or b""))
            self.library.rows_append(self.at, row.offset, row.stamp, row.timestamp, *value, *key)
            self.expected.append(row)
            for _ in range(self.random.choice([0, 0, 0, 1, 3, 20])):
                header = (self.blob() or b"", self.blob())
                if not self.headed(header):
                    self.library.rows_retract(self.at)
                    self.expected.pop()
                    break
                row.headers.append(header)

    def reserved(self, made: list[Row]) -> bool:
        values, keys = sum(len(row.value or b"") for row in made), sum(len(row.key or b"") for row in made)
        with_luck = self.runs_out_soon()
        done: bool = self.library.rows_reserve(self.at, len(made), values, keys) == 0
        self.memory.value = -1
        assert done or with_luck
        return done

    def headed(self, header: tuple[bytes, bytes | None]) -> bool:
        name, value = header
        with_luck = self.runs_out_soon()
        done: bool = self.library.rows_header(self.at, name, len(name), value, len(value or b"")) == 0
        self.memory.value = -1
        assert done or with_luck
        return done

    def runs_out_soon(self) -> bool:
        self.memory.value = self.random.randrange(3) if self.random.random() < 0.05 else -1
        return self.memory.value >= 0

    def drop(self) -> None:
        count = self.random.randint(0, len(self.expected))
        self.library.rows_drop(self.at, count)
        del self.expected[:count]

    def truncate(self) -> None:
        count = self.random.randint(len(self.expected) // 2, len(self.expected))
        self.library.rows_truncate(self.at, count)
        del self.expected[count:]

    def remove(self) -> None:
        if self.expected:
            index = self.random.randrange(len(self.expected))
            count = self.random.randint(1, len(self.expected) - index)
            self.library.rows_remove(self.at, index, count)
            del self.expected[index : index + count]

    def look(self) -> None:
        offsets = [row.offset for row in self.expected]
        assert self.library.played_count(self.at) == len(offsets)
        assert [self.library.played_offset(self.at, index) for index in range(len(offsets))] == offsets
        assert (self.library.rows_bytes(self.at) > 0) == (len(offsets) > 0)
        asked = self.random.choice([*offsets, 0, self.offset]) + self.random.randint(-1, 1)
        asked = min(max(asked, 0), (1 << 63) - 1)
        assert self.library.rows_before(self.at, asked) == sum(offset < asked for offset in offsets)

    def frame(self) -> None:
        if not self.expected:
            return
        most, limit = self.random.randint(1, len(self.expected)), self.random.choice(LIMITS)
        size, count, gaps = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_int()
        at = self.library.played_frame(
            self.at, most, limit, ctypes.byref(size), ctypes.byref(count), ctypes.byref(gaps)
        )
        data = ctypes.string_at(at, size.value)
        self.library.played_free(at)
        rows = self.expected[: count.value]
        assert 1 <= count.value <= most
        assert count.value == 1 or size.value <= limit
        assert bool(gaps.value) == (rows[-1].offset - rows[0].offset + 1 != len(rows))
        if count.value < most:
            beyond = self.expected[count.value]
            assert beyond.stamp != rows[0].stamp or size.value + at_most(beyond) + slack(rows) > limit
        parsed = pb.HostFrame.FromString(data)
        assert parsed.batch == batch_of(rows)
        assert parsed.ByteSize() >= parsed.batch.ByteSize() > 0
        assert parsed.SerializeToString() == pb.HostFrame(batch=parsed.batch).SerializeToString(), "unknown fields"

    def lead(self) -> None:
        """All of it."""
        steps = [self.append] * 4 + [self.frame] * 3 + [self.drop, self.truncate, self.remove]
        for _ in range(STEPS):
            self.random.choice(steps)()
            self.look()
        while self.expected:
            self.frame()
            self.drop()


def at_most(row: Row) -> int:
    """Bytes that a record is counted with."""
    headers = sum(len(name) + len(value or b"") + 12 + HEADER_OVERHEAD for name, value in row.headers)
    return len(row.value or b"") + len(row.key or b"") + 12 + headers + RECORD_OVERHEAD


def slack(rows: list[Row]) -> int:
    """Bytes by which so many records are counted as more than they are."""
    return (
        FRAME_OVERHEAD
        + sum(at_most(row) for row in rows)
        - sum(
            len(row.value or b"") + len(row.key or b"") + sum(len(n) + len(v or b"") for n, v in row.headers)
            for row in rows
        )
    )


def batch_of(rows: list[Row]) -> pb.Batch:
    """By protobuf, from the account."""
    batch = pb.Batch(
        first_offset=rows[0].offset,
        timestamps=[row.timestamp for row in rows],
        timestamp_type=rows[0].stamp,  # type: ignore[arg-type]  # the numbers are those of the enum
        values=[row.value or b"" for row in rows],
        null_values=[index for index, row in enumerate(rows) if row.value is None],
    )
    if rows[-1].offset - rows[0].offset + 1 != len(rows):
        batch.offsets.extend(row.offset for row in rows)
    if any(row.key is not None for row in rows):
        batch.keys.extend(row.key or b"" for row in rows)
        batch.null_keys.extend(index for index, row in enumerate(rows) if row.key is None)
    headers = [header for row in rows for header in row.headers]
    if headers:
        batch.header_counts.extend(len(row.headers) for row in rows)
        batch.header_names.extend(name for name, _ in headers)
        batch.header_values.extend(value or b"" for _, value in headers)
        batch.null_header_values.extend(index for index, (_, value) in enumerate(headers) if value is None)
    return batch


@pytest.fixture
def seeds() -> Iterator[int]:
    return iter(range(int(os.environ.get(ROUNDS, "100"))))


def test_rows_match_their_model_after_any_steps(library: ctypes.CDLL, seeds: Iterator[int]) -> None:
    for seed in seeds:
        life = Life(library, seed)
        try:
            life.lead()
        except AssertionError as failure:
            raise AssertionError(f"seed {seed}: {failure}") from failure
        finally:
            library.rows_free(life.at)
