"""The status of several sidecars as one: text for people, or JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sdk_python.protocol import admin_pb2
from sidecar.commands import show
from sidecar.commands.fleet.asking import Answer, Answered, Failed


def merged_text(answers: Sequence[Answer], now_ms: int) -> str:
    """Who answers, and a table for each lambda with the partitions of all sidecars.

    Args:
        answers: of all sidecars that were asked.
        now_ms: the time, in milliseconds since the Unix epoch, for "since when".
    """
    shown = [
        one._replace(status=show.all_visible(one.status)) if isinstance(one, Answered) else one for one in answers
    ]
    lines = [
        f"{one.sidecar.address}: {show.sidecar_line(one.status, now_ms)}"
        if isinstance(one, Answered)
        else f"no answer: {one.reason}"
        for one in shown
    ]
    for hosted in by_lambda(shown).values():
        lines += ["", *_lambda(hosted, now_ms)]
    return "\n".join(lines)


def merged_json(answers: Sequence[Answer]) -> str:
    """The answers as JSON. `lambdas` has those of all sidecars, each with the address of its `sidecar`; `sidecars`
    says who answered, and why others did not."""
    sidecars: list[dict[str, Any]] = []
    lambdas: list[dict[str, Any]] = []
    for one in answers:
        address = one.sidecar.address
        if isinstance(one, Failed):
            sidecars.append({"address": address, "error": one.reason})
            continue
        status = json.loads(show.status_json(one.status))
        lambdas += ({"sidecar": address, **hosted} for hosted in status.pop("lambdas"))
        sidecars.append({"address": address, **status})
    return json.dumps({"sidecars": sidecars, "lambdas": lambdas}, indent=2)


Hosted = tuple[str, admin_pb2.Lambda]
"""The address of a sidecar, and one of its lambdas."""


def by_lambda(answers: Sequence[Answer]) -> dict[tuple[str, str], list[Hosted]]:
    """The sidecars that have a lambda, by its name and group: in another group it has other partitions."""
    found: dict[tuple[str, str], list[Hosted]] = {}
    for one in answers:
        if isinstance(one, Answered):
            for hosted in one.status.lambdas:
                found.setdefault((hosted.name, hosted.group), []).append((one.sidecar.address, hosted))
    return found


def _lambda(hosted: Sequence[Hosted], now_ms: int) -> Iterator[str]:
    for address, one in hosted:
        yield from show.lambda_lines(one, now_ms, f" at {address}")
    owned = [
        ((partition.topic, partition.partition), (address, *row))
        for address, one in hosted
        for partition, row in zip(one.partitions, show.partition_rows(one, now_ms), strict=True)
    ]
    if owned:
        rows = [row for _, row in sorted(owned)]
        yield from (f"  {line}" for line in show.aligned([("SIDECAR", *show.COLUMNS), *rows]))
