"""Who has opened something and said nothing yet: how many may do so, and who goes first when there are too many.

Pure: no gRPC, no time. A peer is a connection, where connections can be told apart.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Silent(Generic[K]):
    """Those that are silent, by peer, in the order of their coming.

    Who says at once what there is to say is here for a moment only, and has next to nothing else here. So when there
    are too many, the oldest of the peer that has the most of them goes: however many others hold on to theirs, a new
    one gets in, and has the time that it takes until as many came after it as may be here.
    """

    def __init__(self, most: int) -> None:
        """``most``: beyond it `victim` names one for each that is added."""
        self.most = most
        self._peers: dict[str, dict[K, int]] = {}
        self._count = 0
        self._came = 0

    def __len__(self) -> int:
        return self._count

    def of(self, peer: str) -> int:
        """How many this peer has."""
        return len(self._peers.get(peer, ()))

    def add(self, peer: str, key: K) -> None:
        """One came. ``key`` is not there yet."""
        self._came += 1
        self._peers.setdefault(peer, {})[key] = self._came
        self._count += 1

    def remove(self, peer: str, key: K) -> None:
        """It is not silent any more, or has gone; nothing happens when it is not there."""
        keys = self._peers.get(peer)
        if keys is None or keys.pop(key, None) is None:
            return
        self._count -= 1
        if not keys:
            del self._peers[peer]

    def victim(self) -> K | None:
        """The one that must go next, which is not here any more then; None: there is none.

        The oldest of the peer with the most; among such peers, the oldest of all.
        """
        if not self._peers:
            return None
        peer = max(self._peers, key=lambda peer: (len(self._peers[peer]), -next(iter(self._peers[peer].values()))))
        key = next(iter(self._peers[peer]))
        self.remove(peer, key)
        return key

    def crowded_out(self) -> list[K]:
        """Those that must go, since more are here than may be."""
        gone: list[K] = []
        while self._count > self.most and (key := self.victim()) is not None:
            gone.append(key)
        return gone
