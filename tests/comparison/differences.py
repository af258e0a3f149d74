"""Where ours is another on purpose. Each entry is in the README of deli, in the tables of differences."""

from collections.abc import Iterable, Sequence

from tests.comparison.played import Answer, Json, Step


def without_early_checkpoints(steps: Sequence[Step], answers: Iterable[Answer]) -> list[Answer]:
    """The published one's answers without the checkpoints that it makes for records that it had already.

    It makes them whether or not the state is saved, and again and again (DL-47). Ours come with the save.
    """
    kept = []
    told = -1
    for step, answer in zip([["start"], *steps], answers, strict=False):
        if step[0] == "restart":
            told = -1
        entries: Answer = []
        for entry in answer:
            if entry["kind"] == "kafkaCheckpoint":
                if not told < entry["offset"] <= entry["stored"]:
                    continue
                told = entry["offset"]
            entries.append(entry)
        kept.append(entries)
    return kept


def first_difference(session: Json, ours: Sequence[Answer], theirs: Sequence[Answer]) -> int | None:
    """The first step (0: the start) at which the answers differ; None: they are alike."""
    theirs = without_early_checkpoints(session["steps"], theirs)
    for index in range(max(len(ours), len(theirs))):
        if index >= len(ours) or index >= len(theirs) or ours[index] != theirs[index]:
            return index
    return None
