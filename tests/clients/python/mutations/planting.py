"""How a mistake is planted, and the table of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Plant = Callable[[], object]


class Mutation(NamedTuple):
    """A mistake, the case that has to catch it, and the rule that it breaks."""

    plant: Plant
    case: str
    rule: int


MUTATIONS: dict[str, Mutation] = {}


def caught_by(case: str, rule: int) -> Callable[[Plant], Plant]:
    """Note a mutation; its name is the function's."""

    def noted(plant: Plant) -> Plant:
        MUTATIONS[plant.__name__.strip("_").replace("_", "-")] = Mutation(plant, case, rule)
        return plant

    return noted


def put(owner: Any, name: str, value: Any) -> None:
    """Replace an attribute."""
    setattr(owner, name, value)


def wrap(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a method by what ``make`` makes of it."""
    setattr(owner, name, make(getattr(owner, name)))
