"""The cases by theme. Importing this package fills `CASES`."""

from sidecar.conformance.case import CASES
from sidecar.conformance.cases import (
    access,
    assignment,
    checkpoints,
    columns,
    compatibility,
    connection,
    errors,
    limits,
    pause,
    produce,
    revoke,
    scale,
    shutdown,
)

__all__ = [
    "CASES",
    "access",
    "assignment",
    "checkpoints",
    "columns",
    "compatibility",
    "connection",
    "errors",
    "limits",
    "pause",
    "produce",
    "revoke",
    "scale",
    "shutdown",
]
