"""Which bytes of a ring a frame gets. Pure: no memory, thread or clock.

A position counts all bytes of the ring that were ever used, so it never goes down; the byte is at the position modulo
the ring's size. A frame is in one piece: where it would go over the ring's end, it begins at the ring's beginning.
"""

_FRAMES = 4
"""How many full frames a ring has room for: two are on their way, the client copies one, and one makes up for what
stays free at the ring's end."""


def ring_size(frame: int) -> int:
    """The size of a ring for frames of at most ``frame`` bytes."""
    return _FRAMES * frame


class Ring:
    """Room for frames that are written in order, and read in order by somebody who is not trusted."""

    def __init__(self, size: int) -> None:
        """``size``: bytes."""
        self.size = size
        self._end = 0
        """After the last frame."""
        self._reported = 0
        """The last position that the reader reported."""
        self._free_up_to = 0
        """Below it everything may be overwritten."""

    @property
    def used(self) -> int:
        """Bytes that must not be overwritten, those that were left out at the ring's end included."""
        return self._end - self._free_up_to

    def read_up_to(self, position: int) -> bool:
        """Take the reader's report. Returns False, and changes nothing, when it cannot be true."""
        if not self._reported <= position <= self._end:
            return False
        self._reported = position
        self._free_up_to = max(self._free_up_to, position)
        return True

    def place(self, size: int) -> int | None:
        """The position for a frame of ``size`` bytes, which is taken with this call; None: there is no room."""
        begin, free_up_to = self._end, self._free_up_to
        to_end = self.size - begin % self.size
        if not self.used:
            # From the ring's beginning: with a reader that keeps up, only the first pages are ever touched.
            begin += to_end % self.size
            free_up_to = begin
        elif size > to_end:
            begin += to_end
        if begin + size - free_up_to > self.size:
            return None
        self._end, self._free_up_to = begin + size, free_up_to
        return begin
