"""The database's contents: counted while the pipeline runs, and checked at its end."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from examples.pipeline.setting import Names
from examples.scriptorium.store import describe

EVERY = 0.25
"""Seconds between two counts."""

SHOWN = 5


class Stored(threading.Thread):
    """Counts the stored operations until it is stopped."""

    def __init__(self, url: str, names: Names) -> None:
        super().__init__(name="count", daemon=True)
        self.count = 0
        """The last known number."""
        self.away = ""
        """Why the database does not answer; empty: it answers."""
        self._names = names
        self._stop_now = threading.Event()
        self._client = MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=1000, appname="pipeline")
        self._collection = self._client[names.database][names.collection]

    def run(self) -> None:
        while not self._stop_now.wait(EVERY):
            try:
                self.count = self._collection.count_documents({})
                self.away = ""
            except PyMongoError as error:
                self.away = describe(error)

    def numbers(self) -> dict[str, Counter[int]]:
        """By document, how often each number is stored. Raises ``PyMongoError`` when the database fails."""
        found: dict[str, Counter[int]] = {}
        for entry in self._collection.find({}, {"documentId": 1, "operation.sequenceNumber": 1}):
            numbers = found.setdefault(entry["documentId"], Counter())
            numbers[entry["operation"]["sequenceNumber"]] += 1
        return found

    def remove(self) -> None:
        """Drop the collection. Raises ``PyMongoError`` when the database fails."""
        self._collection.drop()

    def stop(self) -> None:
        """Stop counting, and close the connections."""
        self._stop_now.set()
        if self.ident is not None:
            self.join()
        self._client.close()


def contradictions(given: Mapping[str, int], stored: Mapping[str, Counter[int]]) -> list[str]:
    """The errors in the store, if each of these documents must have the numbers from 1 to this one."""
    found = [f"{document} is stored, and nobody gave it numbers" for document in sorted(stored.keys() - given.keys())]
    for document, last in sorted(given.items()):
        numbers = stored.get(document, Counter())
        missing = [number for number in range(1, last + 1) if number not in numbers]
        beyond = sorted(number for number in numbers if not 1 <= number <= last)
        twice = sorted(number for number, times in numbers.items() if times > 1)
        for what, those in (("are not stored", missing), ("were never given", beyond), ("are stored twice", twice)):
            if those:
                shown = ", ".join(map(str, those[:SHOWN])) + (", ..." if len(those) > SHOWN else "")
                found.append(f"{document}: {len(those)} of {last} numbers {what}: {shown}")
    return found
