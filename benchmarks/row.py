"""What a row is: contestants that run in interleaved rounds, and how they are compared."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.environments import NotToBeHadError

Figures = dict[str, float]
Options = argparse.Namespace
RATE, CPU = "records_per_second", "cpu_seconds_per_million"


@dataclass(frozen=True)
class Comparison:
    """Two contestants by one figure, round by round.

    Attributes:
        above: the measured contestant.
        below: the contestant with which it is compared.
        figure: the figure's name.
        added: compare by difference instead of ratio.
        drawn: its name in the picture; empty: it is not drawn.
    """

    above: str
    below: str
    figure: str = RATE
    added: bool = False
    drawn: str = ""


@dataclass(frozen=True)
class Row:
    """Contestants that run in interleaved rounds.

    Attributes:
        name: the row's name; the names of a family of rows begin with the family's.
        what: what is measured, for the report.
        contestants: name and a call that does one run.
        compare: the comparisons that are reported in addition to the contestants' own figures.
        shown: the names of the figures that are printed, for contestants that have them.
        rounds: the default number of rounds.
    """

    name: str
    what: str
    contestants: Mapping[str, Callable[[], Figures]]
    compare: Sequence[Comparison] = ()
    shown: Sequence[str] = (RATE,)
    rounds: int = 5


def is_there(peer: str) -> bool:
    """Whether a peer of `benchmarks.peers` can be run. If not, it says why, and the row is run without it."""
    try:
        PEERS[peer].prepare()
    except NotToBeHadError as error:
        print(f"without {PEERS[peer].title}: {error}", flush=True)
        return False
    return True
