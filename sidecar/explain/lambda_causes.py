"""What is told about whole lambdas: their problems, their processes, and their membership of the group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sdk_python.protocol import admin_pb2 as pb
from sidecar.causes import Cause
from sidecar.explain.cases import PASSES_WITHIN_MS
from sidecar.explain.finding import Finding, Place, Urgency
from sidecar.explain.words import Clock, many, partitions, quoted, several, span

CONNECTION = frozenset(
    {
        Cause.CONNECTING,
        Cause.KAFKA_AWAY,
        Cause.WRONG_CREDENTIALS,
        Cause.TLS_FAILED,
        Cause.HOST_UNKNOWN,
        Cause.BROKER_AWAY,
    }
)
"""Causes that all lambdas of a sidecar share, since they share the connection's settings."""

_OF_ONE_PARTITION = "commit:"
"""The beginning of a problem's kind that names a partition: `commit:orders/7`."""

_HEADS = {
    Cause.CONNECTING: "{who} {waits} for Kafka",
    Cause.KAFKA_AWAY: "{who} {gets} nothing",
    Cause.WRONG_CREDENTIALS: "{who} {gets} nothing, since Kafka refuses the credentials",
    Cause.TLS_FAILED: "{who} {gets} nothing, since TLS with Kafka fails",
    Cause.HOST_UNKNOWN: "{who} {gets} nothing, since a name cannot be resolved",
    Cause.BROKER_AWAY: "{who} {gets} nothing from one of Kafka's brokers",
    Cause.CLIENT_FAILED: "{who} {gets} nothing",
    Cause.GROUP_REFUSED: "{who} {gets} no partitions",
    Cause.NOT_AUTHORISED: "{who} {lacks} a right in Kafka",
    Cause.TOPIC_MISSING: "A topic of {who} does not exist",
    Cause.TOPIC_REFUSED: "A topic of {who} cannot be read",
    Cause.COMMIT_REFUSED: "{who} {works}, but Kafka does not keep how far it is",
    Cause.TRANSACTIONS_REFUSED: "{who} {waits} until Kafka takes its transactions",
    Cause.NO_LEADER: "Partitions of {who} cannot be read",
    Cause.PROCESS_ENDS: "A process that the sidecar runs for {who} keeps ending",
    Cause.SIDECAR_FAULT: "A part of the sidecar has failed",
}
"""What each cause means for the lambdas; the problem's own text follows."""

_VERBS = {"waits": "wait", "gets": "get", "lacks": "lack", "works": "work"}

_ADVICE = {
    Cause.CONNECTING: "It goes on by itself as soon as a broker answers.",
    Cause.KAFKA_AWAY: "The sidecar tries on by itself. Look at the brokers, and at the way to them.",
    Cause.WRONG_CREDENTIALS: "Correct them in Kafka, or in the `kafka` section of the sidecar's config; then "
    "start it again.",
    Cause.TLS_FAILED: "Correct the certificates, or the `kafka` section of the sidecar's config; then start it "
    "again.",
    Cause.HOST_UNKNOWN: "The name comes from bootstrap.servers, or from a broker's advertised.listeners.",
    Cause.BROKER_AWAY: "What other brokers lead goes on. Look at that broker, and at the way to it.",
    Cause.CLIENT_FAILED: "The sidecar makes a new client until one works. If this lasts, the settings in its `kafka` "
    "section can never work, or another member uses the same group.instance.id.",
    Cause.GROUP_REFUSED: "The sidecar tries on by itself, and gets partitions as soon as the group takes it.",
    Cause.NOT_AUTHORISED: "Give the sidecar's user that right in Kafka: the sidecar notices by itself.",
    Cause.TOPIC_MISSING: "Create it, or correct the lambda's `topic`. A topic that appears is consumed at once, from "
    "its first record on.",
    Cause.TOPIC_REFUSED: "The sidecar tries again each second.",
    Cause.COMMIT_REFUSED: "Messages are still processed; after a restart they are processed again.",
    Cause.TRANSACTIONS_REFUSED: "Nothing that was produced since the last commit is visible. Its partitions start "
    "again from there, later each time.",
    Cause.NO_LEADER: "They go on as soon as a broker leads them.",
    Cause.PROCESS_ENDS: "The sidecar starts it again by itself, later each time. Its log has all that it wrote.",
    Cause.SIDECAR_FAULT: "The rest goes on. Keep the sidecar's log, report the fault, and start the sidecar again.",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """A problem of one lambda."""

    of: pb.Lambda
    problem: pb.Problem

    @property
    def cause(self) -> Cause:
        """Its cause; `OTHER` if this version does not know the word."""
        known = self.problem.cause in _HEADS
        return Cause(self.problem.cause) if known else Cause.OTHER

    @property
    def places(self) -> tuple[Place, ...]:
        """The partition that its kind names, if it names one."""
        kind, prefix = self.problem.kind, _OF_ONE_PARTITION
        topic, slash, number = kind.removeprefix(prefix).rpartition("/")
        one = kind.startswith(prefix) and slash and number.isdecimal()
        return (Place(topic, int(number)),) if one else ()


def urgency_of(trouble: Trouble, clock: Clock) -> Urgency:
    """How urgent a problem is."""
    passes = clock.passed(trouble.problem.since_ms) < PASSES_WITHIN_MS
    match trouble.cause:
        case Cause.CONNECTING:
            return Urgency.PASSES if passes else Urgency.LOOK
        case Cause.PROCESS_ENDS:
            return Urgency.LOOK
        case Cause.TOPIC_MISSING:
            return Urgency.LOOK if trouble.of.partitions else Urgency.ACT
        case Cause.SIDECAR_FAULT | Cause.NO_LEADER:
            return Urgency.ACT
        case _:
            return Urgency.ACT if trouble.problem.blocks else Urgency.LOOK


def tell_troubles(troubles: Sequence[Trouble], clock: Clock) -> Finding:
    """Tell about problems with one cause and one text, or with one cause of one lambda."""
    oldest = min(troubles, key=lambda one: one.problem.since_ms)
    cause, text = oldest.cause, quoted(oldest.problem.text)
    names = tuple(dict.fromkeys(one.of.name for one in troubles))
    places = tuple(sorted({place for one in troubles for place in one.places}))
    since = oldest.problem.since_ms
    began = f"It began at {clock.at(since)}, {span(clock.passed(since))} ago." if since else ""
    concerned = f"It concerns {partitions(places)}." if len(places) > 1 else ""
    if cause is Cause.OTHER:
        sentences = [f"{_names(names)}: {text}.", began]
    else:
        verbs = _VERBS if len(names) > 1 else {verb: verb for verb in _VERBS}
        head = _HEADS[cause].format(who=_names(names), **verbs)
        sentences = [f"{head}: {text}.", concerned, began, _ADVICE[cause]]
    urgency = max(urgency_of(one, clock) for one in troubles)
    told_names = () if cause is Cause.SIDECAR_FAULT else names
    return Finding(urgency, cause, told_names, places, tuple(filter(None, sentences)))


def membership(of: pb.Lambda, uptime_ms: int, clock: Clock) -> Iterator[Finding]:
    """What is said of a lambda that has no partitions and no problem that explains it."""
    name = of.name
    if not of.processes:
        urgency = Urgency.PASSES if uptime_ms < PASSES_WITHIN_MS else Urgency.ACT
        why = f"{name} has no lambda process, so the sidecar is not in group {of.group}, and gets no partitions."
        then = f"{who_starts(of)}: the sidecar then joins the group."
        yield Finding(urgency, Cause.NO_PROCESS, (name,), (), (why, then))
    elif not of.joined:
        text = f"{name} is joining group {of.group}, and gets its partitions when Kafka has taken it."
        lost = _taken(of, clock)
        yield Finding(Urgency.PASSES, Cause.REBALANCING, (name,), (), (text, lost) if lost else (text,))
    else:
        text = f"{name} is in group {of.group}, and Kafka has assigned no partition to it."
        more = "Other members of the group have them; it takes over when one of them ends."
        yield Finding(Urgency.WELL, Cause.NO_PARTITIONS, (name,), (), (text, more))


def who_starts(of: pb.Lambda) -> str:
    """What has to happen for a lambda to have a process, without the full stop."""
    if of.supervised:
        return "The sidecar runs the processes of this lambda, and none of them has connected"
    return f"Start a process that serves {of.name}"


def _taken(of: pb.Lambda, clock: Clock) -> str:
    """When and why the group took partitions from the sidecar, if that was the last that it did."""
    last = of.last_rebalance
    if not of.HasField("last_rebalance") or last.kind in (pb.REBALANCE_KIND_ASSIGNED, pb.REBALANCE_KIND_ASKED):
        return ""
    why = f": {quoted(last.reason)}" if last.reason else ""
    return f"It had {many(last.partitions, 'partition')} until {clock.at(last.at_ms)}{why}."


def _names(names: Sequence[str]) -> str:
    return several(names, "lambdas")
