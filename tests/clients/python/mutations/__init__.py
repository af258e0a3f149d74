"""Mistakes to plant in the Python SDK, by theme. Importing this package fills `MUTATIONS`."""

from tests.clients.python.mutations import ends, features, produced, records, streams, work
from tests.clients.python.mutations.planting import MUTATIONS

__all__ = ["MUTATIONS", "ends", "features", "produced", "records", "streams", "work"]
