"""Bounds the calls and streams that have been opened and have sent nothing yet.

Pure: no gRPC, no time. A peer is a connection, if connections can be told apart.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Silent(Generic[K]):
    """The silent calls or streams by peer, in the order of their arrival.

    An honest peer has few of them, each for a moment. So when there are too many, the oldest of the peer with the
    most must go: a new one always gets in, however many others stay, and may stay until ``most`` more have arrived.
    """

    def __init__(self, most: int) -> None:
        """``most``: the number beyond which `crowded_out` names those that must go."""
        self.most = most
        self._peers: dict[str, dict[K, int]] = {}
        self._count = 0
        self._came = 0

    def __len__(self) -> int:
        return self._count

    def of(self, peer: str) -> int:
        """The number of silent ones of this peer."""
        return len(self._peers.get(peer, ()))

    def add(self, peer: str, key: K) -> None:
        """Add a new one. ``key`` must be new."""
        self._came += 1
        self._peers.setdefault(peer, {})[key] = self._came
        self._count += 1

    def remove(self, peer: str, key: K) -> None:
        """Remove one that has spoken or has ended. Does nothing if it is not there."""
        keys = self._peers.get(peer)
        if keys is None or keys.pop(key, None) is None:
            return
        self._count -= 1
        if not keys:
            del self._peers[peer]

    def victim(self) -> K | None:
        """Remove and return the one that must go next: the oldest of the peer with the most.

        Among several such peers it is the oldest of all. None: there is none.
        """
        if not self._peers:
            return None
        peer = max(self._peers, key=lambda peer: (len(self._peers[peer]), -next(iter(self._peers[peer].values()))))
        key = next(iter(self._peers[peer]))
        self.remove(peer, key)
        return key

    def crowded_out(self) -> list[K]:
        """Remove and return those beyond ``most``."""
        gone: list[K] = []
        while self._count > self.most and (key := self.victim()) is not None:
            gone.append(key)
        return gone
