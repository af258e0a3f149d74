"""deli, the sequencer: it numbers the operations of a collaborative document.

Start with ``sequencer.py``. This package exports logic without I/O. README.md says where it differs from the service
on which it is modelled, and what its caller has to do.
"""

from examples.deli.boxcar import Boxcar, encode_boxcar, parse_boxcar
from examples.deli.checkpoints import Saves
from examples.deli.config import Config
from examples.deli.javascript import Malformed
from examples.deli.messages import (
    Checkpoint,
    Close,
    Deltas,
    Document,
    Event,
    Failure,
    Input,
    Output,
    ProduceFailed,
    RawDeltas,
    Reason,
    Record,
    SaveState,
    Signal,
    Tick,
)
from examples.deli.sequencer import Sequencer, start, step
from examples.deli.session import Session
from examples.deli.state import State, load

__all__ = [
    # the sequencer
    "Config",
    "Document",
    "Sequencer",
    "Session",
    "State",
    "load",
    "start",
    "step",
    # in
    "Boxcar",
    "Close",
    "Input",
    "Malformed",
    "ProduceFailed",
    "Record",
    "Tick",
    "parse_boxcar",
    # out
    "Checkpoint",
    "Deltas",
    "Event",
    "Failure",
    "Output",
    "RawDeltas",
    "Reason",
    "SaveState",
    "Signal",
    "Saves",
    "encode_boxcar",
]
