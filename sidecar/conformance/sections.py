"""Features that a client may not have: the cases of each form a section, which can be left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SECTIONS: Final[Mapping[str, str]] = {
    "state": "a state that goes with a checkpoint, and comes back in Assigned",
    "committed": "code can wait until an offset is committed",
    "progress": "long work tells how far it is",
    "lanes": "several lanes of one partition in one process",
    "exactly-once": "the guarantee exactly-once",
}
"""The name of each, and what a client with it has."""
