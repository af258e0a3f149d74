"""The ring: no frame is overwritten before it is read, whatever the reader says."""

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidecar.shared_memory.ring import Ring

SIZE = 64


class Written(RuleBasedStateMachine):
    """Frames are written and read; each byte of the ring remembers the frame that it belongs to."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(SIZE)
        self.bytes: list[int] = [-1] * SIZE
        self.frames: list[tuple[int, int]] = []  # position and size of what is not read
        self.reported = self.end = 0

    @rule(size=st.integers(1, SIZE + 1))
    def write(self, size: int) -> None:
        """A frame never touches one that is not read. There is room for it whenever nothing waits."""
        position = self.ring.place(size)
        if position is None:
            assert self.frames or size > SIZE
            return
        assert position >= self.end
        begin = position % SIZE
        assert begin + size <= SIZE, "in one piece"
        assert self.frames or begin == 0, "from the beginning whenever all is read"
        for at in range(begin, begin + size):
            assert self.bytes[at] == -1, "overwritten before it was read"
            self.bytes[at] = position
        self.frames.append((position, size))
        self.end = position + size

    @precondition(lambda self: self.frames)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """The reader says how far it is, after one frame or several."""
        count = data.draw(st.integers(1, len(self.frames)))
        for position, size in self.frames[:count]:
            for at in range(position % SIZE, position % SIZE + size):
                assert self.bytes[at] == position
                self.bytes[at] = -1
            self.reported = position + size
        del self.frames[:count]
        assert self.ring.read_up_to(self.reported)

    @rule()
    def repeat(self) -> None:
        """A report that says nothing new is true."""
        assert self.ring.read_up_to(self.reported)

    @rule(beyond=st.integers(1, 2**64))
    def claim_too_much(self, beyond: int) -> None:
        """Nobody has read what was never written."""
        assert not self.ring.read_up_to(self.end + beyond)

    @precondition(lambda self: self.reported)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        """What was read stays read."""
        assert not self.ring.read_up_to(data.draw(st.integers(0, self.reported - 1)))

    @invariant()
    def used_covers_what_is_not_read(self) -> None:
        assert sum(size for _, size in self.frames) <= self.ring.used <= SIZE


TestRing = Written.TestCase
TestRing.settings = settings(max_examples=50, stateful_step_count=30)


def test_a_full_ring_has_room_again_after_one_frame_is_read() -> None:
    ring = Ring(10)
    assert [ring.place(4), ring.place(4), ring.place(4)] == [0, 4, None]
    assert ring.read_up_to(4)
    assert ring.place(4) == 10  # the two bytes at the end are left out
    assert ring.place(1) is None
    assert ring.used == 10
