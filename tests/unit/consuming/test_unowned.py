"""Partitions that no member of the group owns: when that lasts too long, and what is done then."""

from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, strategies as st

from sidecar.config.kafka_properties import ASSIGNOR, Property
from sidecar.consuming import connection, letter_reader, membership, rebalances, turns
from sidecar.consuming.membership import NO_TOPIC
from sidecar.consuming.unowned import MAX_DOUBLED, Unowned, unowned
from sidecar.consuming.unowned_watch import (
    FIRST_LOOK_S,
    INTERVAL_S,
    JITTER,
    PATIENCE_S,
    SETTLED_INTERVAL_S,
    patience_for,
)
from sidecar.mail import letters
from sidecar.mail.facts import GroupFacts
from sidecar.partitions.vocabulary import RebalanceKind, TopicPartition

from .bench import SOURCES, Bench, record
from .played_inquiries import MISSING, TIMED_OUT, topic

PATIENCE = 10.0

# --- which, and for how long ------------------------------------------------------------------------------------

PARTITIONS = st.builds(TopicPartition, st.sampled_from(["t", "u", "v"]), st.integers(0, 4))
MEMBERS = st.dictionaries(st.sampled_from("abc"), st.frozensets(PARTITIONS))


def stable(members: Mapping[str, Any]) -> GroupFacts:
    """A group whose members have these partitions of topic `t`."""
    return GroupFacts(
        stable=True,
        members={name: frozenset(TopicPartition("t", number) for number in owned) for name, owned in members.items()},
    )


REBALANCING = GroupFacts(stable=False, members={"a": frozenset()})


@given(MEMBERS, st.dictionaries(st.sampled_from("tu"), st.integers(0, 5)))
def test_a_partition_has_an_owner_or_is_unowned(
    members: dict[str, frozenset[TopicPartition]], sizes: dict[str, int]
) -> None:
    found = unowned(members, sizes.items())
    for name, size in sizes.items():
        for number in range(size):
            tp = TopicPartition(name, number)
            assert (tp in found) != any(tp in owned for owned in members.values())
    assert all(tp.topic in sizes and tp.partition < sizes[tp.topic] for tp in found), "nobody asked for others"


ALL = stable({"a": {0, 1}, "b": {2, 3}})
SOME = stable({"a": {0, 1}, "b": {3}})
FEWER = stable({"a": {0}, "b": {3}})
ANOTHER = stable({"a": {0, 1}, "b2": {3}})


@pytest.mark.parametrize(
    ("answers", "acts_at"),
    [
        pytest.param({0: ALL, 20: ALL}, None, id="all have owners"),
        pytest.param({0: SOME, 5: SOME, 10: SOME}, 10, id="the same for long"),
        pytest.param({0: SOME, 9.9: SOME}, None, id="not for so long yet"),
        pytest.param({30: SOME}, None, id="seen once"),
        pytest.param({0: SOME, 5: ALL, 12: SOME, 21: SOME, 22: SOME}, 22, id="had an owner in between"),
        pytest.param({0: SOME, 5: REBALANCING, 12: SOME, 21: SOME, 22: SOME}, 22, id="a rebalance in between"),
        pytest.param({0: SOME, 5: ANOTHER, 12: ANOTHER, 14.9: ANOTHER, 15: ANOTHER}, 15, id="a member came back"),
        pytest.param({0: SOME, 5: FEWER, 12: FEWER, 15: FEWER}, 15, id="they moved"),
    ],
)
def test_what_lasts_needs_somebody(answers: dict[float, GroupFacts], acts_at: float | None) -> None:
    heard = Unowned(PATIENCE)
    acted = [at for at, answer in answers.items() if heard.hear(answer, [("t", 4)], at)]
    assert acted == ([] if acts_at is None else [acts_at])


def test_all_partitions_without_an_owner_are_told_also_those_of_now() -> None:
    heard = Unowned(PATIENCE)
    heard.hear(SOME, [("t", 4)], 0.0)
    assert heard.hear(SOME, [("t", 5)], PATIENCE) == {TopicPartition("t", 2), TopicPartition("t", 4)}


def test_a_topic_that_has_just_got_partitions_has_time() -> None:
    heard = Unowned(PATIENCE)
    assert not heard.hear(ALL, [("t", 4)], 0.0)
    assert not heard.hear(ALL, [("t", 5)], 100.0)
    assert heard.hear(ALL, [("t", 5)], 100.0 + PATIENCE) == {TopicPartition("t", 4)}


def test_a_rebalance_that_does_not_help_is_asked_for_less_and_less_often() -> None:
    heard, at, took = Unowned(PATIENCE), 0.0, []
    for _ in range(MAX_DOUBLED + 2):
        began = at
        while not heard.hear(SOME, [("t", 4)], at):
            at += 1.0
        heard.asked()
        took.append(at - began)
        at += 1.0
    assert took == [PATIENCE * 2**times for times in [*range(MAX_DOUBLED + 1), MAX_DOUBLED]]
    heard.hear(ALL, [("t", 4)], at)
    assert heard.patience == PATIENCE


# --- what a sidecar does ----------------------------------------------------------------------------------------

SESSION = "session.timeout.ms"
LONGER = 1.0 + JITTER
"""The bench's jitter is always 1."""
WAITS = (PATIENCE_S + 2 * 2.0) * LONGER
"""With the drain of 2 s that is the default."""
ASKS = ("warning", "partitions that no member of the group owns: asking the group for a rebalance")


class Member:
    """A lambda that is a member of the group. What each member is assigned is the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        options.setdefault("properties", {"group.instance.id": "a"})
        self.bench = bench = Bench(**options)
        bench.clock(monkeypatch, turns, rebalances, letter_reader, connection, membership)
        bench.broker.facts = {"t": topic("id", 1, 1, 1, 1)}
        bench.state.mailbox.put(letters.Topics(bench.broker.facts))
        bench.state.mailbox.put(letters.Available(1, "process", 1 << 20))
        bench.turns.turn_or_fail()
        assert bench.consumer.subscriptions == [["t"]]
        self.rebalance()
        bench.recorder.take()

    def rebalance(self) -> None:
        """A rebalance gives it nothing."""
        self.bench.turns.rebalances.on_assign([])

    def passes(self, seconds: float) -> None:
        """Time passes."""
        until = self.bench.now + seconds
        while self.bench.now < until:
            self.bench.now += 0.5
            self.bench.turns.turn_or_fail()

    @property
    def questions(self) -> int:
        """How often the group was asked for."""
        return self.bench.broker.asked.count("group")

    @property
    def asked(self) -> int:
        """How often it asked for a rebalance."""
        return self.bench.state.rebalances.counts[RebalanceKind.ASKED]


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Member:
    return Member(monkeypatch)


def test_it_asks_for_a_rebalance_and_then_subscribes_to_its_topics_alone(member: Member) -> None:
    bench = member.bench
    bench.broker.group_is = SOME
    member.passes(WAITS)
    assert member.asked == 0
    member.passes(FIRST_LOOK_S * LONGER + INTERVAL_S * LONGER)
    assert bench.recorder.told() == [ASKS]
    assert member.asked == 1
    last = bench.state.rebalances.last
    assert last is not None
    assert (last.kind, last.partitions, last.reason) == (RebalanceKind.ASKED, 1, "no member of the group owned t/2")
    [first, (kept, strange)] = bench.consumer.subscriptions
    assert first == [kept] == ["t"]
    assert strange.startswith(NO_TOPIC)

    bench.broker.group_is = REBALANCING
    member.passes(20.0)
    assert bench.consumer.subscribed == ["t", strange], "while it goes on"
    bench.broker.group_is = ALL
    member.rebalance()
    member.passes(FIRST_LOOK_S * LONGER + 1.0)
    assert bench.consumer.subscriptions[2:] == [["t"]]
    member.passes(1_000.0)
    assert len(bench.consumer.subscriptions) == 3
    assert member.asked == 1


@pytest.mark.parametrize(
    ("properties", "drain", "seconds"),
    [
        ({ASSIGNOR: "cooperative-sticky"}, 2.0, 9.0),
        ({ASSIGNOR: "cooperative-sticky", SESSION: "60000"}, 30.0, 65.0),
        ({ASSIGNOR: "range"}, 2.0, 45.0),
        ({SESSION: 6000}, 2.0, 9.0),
        ({SESSION: "60000"}, 2.0, 60.0),
    ],
)
def test_the_patience_outlasts_drains_and_eager_a_session(
    properties: dict[str, Property], drain: float, seconds: float
) -> None:
    assert patience_for(properties, drain) == seconds


def test_eager_it_leaves_and_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    member = Member(
        monkeypatch, cooperative=False, properties={"group.instance.id": "a", "session.timeout.ms": "20000"}
    )
    member.bench.broker.group_is = SOME
    member.passes(20.0 * LONGER)
    assert member.asked == 0, "a member may have died: the rebalance would wait for it, and all would stand still"
    member.passes(FIRST_LOOK_S * LONGER + INTERVAL_S * LONGER)
    assert member.asked == 1
    assert member.bench.consumer.subscriptions == [["t"], [], ["t"]]


@pytest.mark.parametrize(
    "properties", [{}, {"group.instance.id": ""}, {"group.instance.id": "a", "group.protocol": "consumer"}]
)
def test_where_it_cannot_happen_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, properties: dict[str, str]) -> None:
    member = Member(monkeypatch, properties=properties)
    member.passes(300.0)
    assert member.questions == 0


def test_the_group_is_asked_for_often_until_all_partitions_have_owners(member: Member) -> None:
    member.bench.broker.group_is = ALL
    member.passes(FIRST_LOOK_S * LONGER + 1.0)
    assert member.questions == 1
    member.passes(SETTLED_INTERVAL_S * LONGER - 2.0)
    assert member.questions == 1
    member.passes(3.0)
    assert member.questions == 2
    member.bench.broker.group_is = SOME
    member.passes(SETTLED_INTERVAL_S * LONGER + 1.0)
    assert member.questions == 3
    member.passes(WAITS + INTERVAL_S * LONGER)
    assert member.asked == 1


def test_a_rebalance_that_comes_meanwhile_ends_it(member: Member) -> None:
    member.bench.broker.group_is = SOME
    for _ in range(20):
        member.passes(WAITS)
        member.rebalance()
    assert member.questions > 20
    assert member.asked == 0


@pytest.mark.parametrize("what", ["assigned", "revoked", "lost"])
def test_an_answer_from_before_a_rebalance_is_outdated(member: Member, what: str) -> None:
    bench = member.bench
    bench.broker.group_is = SOME
    member.passes(WAITS)
    bench.broker.holds = True
    questions = member.questions
    while member.questions == questions:
        member.passes(0.5)
    match what:
        case "assigned":
            member.rebalance()
        case "revoked":
            bench.turns.rebalances.on_revoke([])
        case "lost":
            bench.turns.rebalances.on_lost([])
    bench.broker.answer()
    bench.turns.turn_or_fail()
    assert member.asked == 0
    bench.broker.holds = False
    member.passes(3 * WAITS)
    assert member.asked == 1, "it goes on with new answers"


@pytest.mark.parametrize("answer", [TIMED_OUT, REBALANCING], ids=["none", "rebalancing"])
def test_without_an_answer_it_asks_again(member: Member, answer: GroupFacts | KafkaError) -> None:
    member.bench.broker.group_is = answer
    member.passes(10 * INTERVAL_S * LONGER)
    assert 8 <= member.questions <= 11
    assert member.asked == 0


def test_a_topic_that_is_gone_has_no_partitions(member: Member) -> None:
    member.bench.broker.group_is = SOME
    member.bench.state.mailbox.put(letters.Topics({"t": MISSING}))
    member.passes(200.0)
    assert member.asked == 0


def test_who_is_no_member_asks_nobody(member: Member) -> None:
    bench = member.bench
    bench.broker.group_is = SOME
    member.passes(WAITS)
    bench.broker.holds = True
    member.passes(INTERVAL_S * LONGER)
    bench.turns.rebalances._leave("no lambda process: leaving the group")
    bench.broker.answer()
    bench.table.streams.lost(1, bench.now)
    bench.table.take_commands()
    bench.broker.asked.clear()
    bench.consumer.generation = -1
    member.passes(300.0)
    assert (member.questions, member.asked) == (0, 0)


def test_a_sidecar_that_stops_asks_for_nothing(member: Member) -> None:
    bench = member.bench
    bench.broker.group_is = SOME
    member.passes(WAITS)
    bench.broker.holds = True
    member.passes(INTERVAL_S * LONGER)
    bench.turns.shut_down(bench.broker.answer)
    bench.broker.answer()
    bench.letters.read_all()
    assert member.asked == 0


@pytest.mark.parametrize("source", SOURCES)
def test_the_complaint_about_the_topic_that_nobody_has_made_is_no_error(
    monkeypatch: pytest.MonkeyPatch, source: Any
) -> None:
    member = Member(monkeypatch, source=source)
    bench = member.bench
    bench.broker.group_is = SOME
    member.passes(WAITS + INTERVAL_S * LONGER + 1.0)
    name = bench.consumer.subscribed[-1]
    looks = bench.looks
    bench.come(record(-1, KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "none"), topic=name, partition=-1))
    assert (bench.looks, bench.state.measure.now.fetch_errors) == (looks, {})
    bench.come(record(-1, KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "none"), topic="u", partition=-1))
    assert (bench.looks, bench.state.measure.now.fetch_errors) == (looks + 1, {"no_topic": 1})


def test_topics_that_change_meanwhile_replace_all(monkeypatch: pytest.MonkeyPatch) -> None:
    member = Member(monkeypatch, topics=["t", "^u"])
    bench = member.bench
    bench.broker.group_is = SOME
    member.passes(WAITS + INTERVAL_S * LONGER + 1.0)
    assert len(bench.consumer.subscribed) == 2
    bench.state.mailbox.put(letters.Topics({"t": topic("id", 1, 1, 1, 1), "u1": topic("id", 1)}))
    bench.turns.turn_or_fail()
    assert bench.consumer.subscribed == ["t", "u1"]
    assert not bench.client.membership.asks
