"""What a case is, and the table of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sidecar.conformance.sections import SECTIONS
from sidecar.conformance.stage import Stage

Script = Callable[[Stage], Awaitable[None]]
TIME_LIMIT_S = 40.0
MAX_STATE_BYTES = 2048


class Security(Enum):
    """How connections are secured."""

    NONE = "none"
    TOKEN = "token"  # noqa: S105 - no password
    TLS = "TLS"
    MUTUAL = "mutual TLS"
    FOREIGN = "TLS with an authority that the client does not trust"


@dataclass(frozen=True)
class Case:
    """One case."""

    name: str
    rule: int
    shows: str
    """In one sentence: what a client does here that keeps the rule."""
    script: Script
    do: str = ""
    """The words of `CONFORMANCE_DO`."""
    advice: bool = False
    """The contract recommends it, and does not demand it."""
    ahead: bool = False
    """The lambda checkpoints offsets that were not delivered."""
    ends: bool = True
    """At the end the process gets SIGTERM and has to end in order; False: the script has seen to the end."""
    starts: bool = True
    """The process is started before the script begins."""
    unix: bool = False
    security: Security = Security.NONE
    environment: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    section: str = ""
    """Of `SECTIONS`; empty: every client has to hold in it."""
    exactly_once: bool = False
    """The guarantee of the lambda."""
    capabilities: bool = True
    """The sidecar has the capabilities of today; False: it accepts none."""
    max_state: int = MAX_STATE_BYTES
    """How long a state may be, in bytes; 0: the sidecar keeps none."""
    window: int = 1000
    limits: Mapping[str, int] = field(default_factory=dict)
    """Limits of Welcome that differ from the sidecar's own."""
    time_limit: float = TIME_LIMIT_S


CASES: dict[str, Case] = {}
"""All cases by name, in the order of the report."""


def case(name: str, rule: int, shows: str, **options: Any) -> Callable[[Script], Script]:
    """Make a case of a script."""

    def noted(script: Script) -> Script:
        if name in CASES:
            raise ValueError(f"there are two cases {name}")
        made = Case(name, rule, shows, script, **options)
        if made.section and made.section not in SECTIONS:
            raise ValueError(f"{name}: there is no section {made.section}")
        CASES[name] = made
        return script

    return noted
