"""The writers of the demo and their texts."""

import random

from examples.demo.writer import Writer

_LINES = (
    "the meeting began late since nobody had the key to the room",
    "we agreed to ship on friday and to tell the customers first",
    "open questions are the budget the venue and who brings cake",
    "once upon a time a small river wanted to see the mountains",
    "it asked the wind which way and the wind only laughed",
    "so it turned round and began to climb one stone after another",
    "chop the onions and let them sweat in butter until they are soft",
    "add rice and stir then wine then broth a ladle at a time",
    "take it from the fire with some cheese and let it rest",
)
_NAMES = ("ada", "ben", "cleo", "dan", "eve", "finn", "gita", "hal", "iris")
_DOCUMENTS = ("minutes", "novel", "rice", "letter", "speech", "manual", "poem", "notes")


def cast(documents: int, writers: int, seed: int | None = None) -> dict[str, list[Writer]]:
    """The writers of each document; no two have the same name."""
    rng = random.Random(seed)
    made: dict[str, list[Writer]] = {}
    for index in range(documents):
        number, name = divmod(index, len(_DOCUMENTS))
        document = _DOCUMENTS[name] + (f"-{number + 1}" if number else "")
        made[document] = [_writer(index * writers + place, rng) for place in range(writers)]
    return made


def _writer(index: int, rng: random.Random) -> Writer:
    number, name = divmod(index, len(_NAMES))
    words = _LINES[index % len(_LINES)].split()
    return Writer(_NAMES[name] + (f"{number + 1}" if number else ""), words, random.Random(rng.random()))
