"""Which sidecar owns a partition, by what all of them answered. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from sidecar.commands.fleet.addresses import Sidecar
from sidecar.commands.fleet.asking import Answer, Answered, Failed
from sidecar.commands.target import Target
from sidecar.visible import visible


class Owner(NamedTuple):
    """Exactly one sidecar owns it."""

    sidecar: Sidecar


class NoOwner(NamedTuple):
    """No sidecar, or more than one, says that it owns the partition."""

    reason: str
    """The thing, the cause and the remedy; safe for a terminal."""
    may_change: bool
    """Whether the next answers may name one owner, since Kafka may be moving the partition."""


Found: TypeAlias = Owner | NoOwner


def find_owner(answers: Sequence[Answer], target: Target) -> Found:
    """The sidecar that owns ``target`` now.

    Kafka gives a partition to one member of a group. During a rebalance the old owner may still have it in its answer
    while the new one already has; and between the two there may be nobody.

    Args:
        answers: of all sidecars that were asked; at least one.
        target: the partition, and the lambda whose group is meant.
    """
    answered = [answer for answer in answers if isinstance(answer, Answered)]
    failed = [answer for answer in answers if isinstance(answer, Failed)]
    if not answered:
        return NoOwner(no_answer(failed), may_change=False)
    owners = [(one.sidecar, group) for one in answered for group in _groups_that_own(one, target)]
    if len(owners) == 1:
        return Owner(owners[0][0])
    if owners:
        return _contested(target, owners)
    reason, may_change = _nobody(answered, target)
    if failed:
        # Asking again would take another deadline, and hardly find the one that hangs or is down in a better state.
        reason += "; one that did not answer may own it: " + "; ".join(one.reason for one in failed)
    return NoOwner(reason, may_change and not failed)


def no_answer(failed: Sequence[Failed]) -> str:
    """The text for sidecars of which none answered; each has its reason."""
    if len(failed) == 1:
        return failed[0].reason
    return "\n  ".join([f"none of {len(failed)} sidecars answered:", *(one.reason for one in failed)])


def _groups_that_own(one: Answered, target: Target) -> list[str]:
    return [
        hosted.group
        for hosted in one.status.lambdas
        if hosted.name == target.lambda_name
        and any(
            (partition.topic, partition.partition) == (target.topic, target.partition)
            for partition in hosted.partitions
        )
    ]


def _contested(target: Target, owners: Sequence[tuple[Sidecar, str]]) -> NoOwner:
    groups = sorted({group for _, group in owners})
    where = " and ".join(sidecar.address for sidecar, _ in owners)
    if len(groups) > 1:
        reason = (
            f"{target} is consumed by several groups, {' and '.join(groups)}, at {where}; "
            "--address names the sidecar that is meant"
        )
        return NoOwner(visible(reason), may_change=False)
    reason = (
        f"{where} both say that they own {target}, as during a rebalance; nothing was sent to either. "
        "Try again when kafka-sidecar status shows one owner"
    )
    return NoOwner(visible(reason), may_change=True)


def _nobody(answered: Sequence[Answered], target: Target) -> tuple[str, bool]:
    hosted = [one for answer in answered for one in answer.status.lambdas]
    if all(one.name != target.lambda_name for one in hosted):
        known = ", ".join(sorted({one.name for one in hosted})) or "none"
        return visible(f"no sidecar has a lambda {target.lambda_name!r}; there are: {known}"), False
    reason = (
        f"no sidecar owns {target} now; kafka-sidecar status shows who owns what, and whether they are in the group"
    )
    return visible(reason), True
