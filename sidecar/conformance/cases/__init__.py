"""The cases by theme. Importing this package fills `CASES`."""

from sidecar.conformance.case import CASES
from sidecar.conformance.cases import assignment, checkpoints, columns, errors, produce

__all__ = ["CASES", "assignment", "checkpoints", "columns", "errors", "produce"]
