"""Which script mirrors which cases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from tests.integration.mirror.client import Client

Script = Callable[[Client], Awaitable[None]]


class Mirror(NamedTuple):
    """One script."""

    script: Script
    cases: tuple[str, ...]
    partitions: int
    breaks: frozenset[int]
    """The rules that the client breaks on purpose."""
    options: Mapping[str, Any]
    """Of the lambda's config."""


MIRRORS: dict[str, Mirror] = {}
"""By the name of the script, which is the lambda's as well."""


def mirrors(
    *cases: str, partitions: int = 1, breaks: tuple[int, ...] = (), **options: Any
) -> Callable[[Script], Script]:
    """Note a script."""

    def noted(script: Script) -> Script:
        name = getattr(script, "__name__", "").replace("_", "-")
        MIRRORS[name] = Mirror(script, cases, partitions, frozenset(breaks), options)
        return script

    return noted
