"""Where a partition starts: from what Kafka says, decided without asking it."""

import pytest
from confluent_kafka import KafkaError

from sidecar.consuming.starts import SAME_START_MS, Begin, Edge, Known, Lost, NotYet, Start, start_of
from sidecar.mail.facts import Commit, Origin, TopicFacts
from sidecar.partitions.vocabulary import Place, TopicPartition

OLD, NEW = "AAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAg"
NOW = 1_700_000_000_000
P = [TopicPartition("t", number) for number in range(5)]


def facts(partitions: int, topic_id: str = NEW) -> TopicFacts:
    return TopicFacts(topic_id, (1,) * partitions)


def start(
    tp: TopicPartition,
    commits: dict[TopicPartition, Commit],
    known: TopicFacts | None,
    *,
    left: Commit | None = None,
    rule: Edge = "latest",
    appeared: bool = False,
    alike: tuple[str, ...] = (),
) -> Start:
    return start_of(tp, commits, known, left, rule, NOW, appeared=appeared, alike=alike)


def test_a_committed_offset_of_this_topic_counts() -> None:
    commits = {P[0]: Commit(7, Origin(NEW, 2))}
    assert start(P[0], commits, facts(4)) == Known(7, Origin(NEW, 2))


@pytest.mark.parametrize("rule", ["earliest", "latest"])
def test_start_is_where_a_new_group_starts(rule: Edge) -> None:
    begin = start(P[1], {}, facts(2), rule=rule)
    assert isinstance(begin, Begin)
    assert (begin.at, begin.origin) == (rule, Origin(NEW, 2, NOW))


def test_a_partition_that_was_added_starts_at_its_first_record() -> None:
    commits = {P[0]: Commit(7, Origin(NEW, 2)), P[1]: Commit(0, Origin(NEW, 2))}
    begin = start(P[2], commits, facts(4))
    assert isinstance(begin, Begin)
    assert (begin.at, begin.origin) == ("earliest", Origin(NEW, 2))


def test_a_partition_of_a_new_group_that_another_member_began_with_is_not_an_added_one() -> None:
    commits = {P[0]: Commit(7, Origin(NEW, 2))}
    begin = start(P[1], commits, facts(2))
    assert isinstance(begin, Begin)
    assert begin.at == "latest"


def test_of_members_that_counted_at_different_times_the_first_counts() -> None:
    commits = {P[0]: Commit(7, Origin(NEW, 2)), P[1]: Commit(7, Origin(NEW, 4))}
    begin = start(P[3], commits, facts(4))
    assert isinstance(begin, Begin)
    assert begin.at == "earliest"


def test_beside_commits_of_another_tool_a_higher_partition_was_added() -> None:
    commits = {P[0]: Commit(7, None), P[1]: Commit(3, None)}
    later, between = start(P[2], commits, facts(4)), start(P[1], {P[2]: Commit(1, None)}, facts(4))
    assert isinstance(later, Begin)
    assert isinstance(between, Begin)
    assert (later.at, between.at) == ("earliest", "latest")


def test_a_topic_that_appeared_later_starts_at_its_first_record_in_all_partitions() -> None:
    begin = start(P[0], {}, facts(2), appeared=True)
    assert isinstance(begin, Begin)
    assert (begin.at, begin.origin) == ("earliest", Origin(NEW, 0, NOW))
    after_a_restart = start(P[1], {P[0]: Commit(5, begin.origin)}, facts(2))
    assert isinstance(after_a_restart, Begin)
    assert after_a_restart.at == "earliest"


def test_commits_of_other_topics_say_nothing_of_this_one() -> None:
    begin = start(P[0], {TopicPartition("other", 0): Commit(7, Origin(NEW, 1))}, facts(1))
    assert isinstance(begin, Begin)
    assert begin.at == "latest"


@pytest.mark.parametrize(
    ("began_at", "at"), [(NOW - 2 * SAME_START_MS, "earliest"), (NOW - SAME_START_MS // 2, "latest"), (0, "latest")]
)
def test_a_topic_beside_others_of_its_pattern_appeared_later_where_the_group_began_long_ago(
    began_at: int, at: Edge
) -> None:
    """While nobody looked. Members that begin together find each other's first commits."""
    commits = {TopicPartition("t-1", 0): Commit(7, Origin(OLD, 1, began_at))}
    begin = start(P[0], commits, facts(2), alike=("t-1",))
    assert isinstance(begin, Begin)
    assert begin.at == at
    named = start(P[0], commits, facts(2))
    assert isinstance(named, Begin)
    assert named.at == "latest", "it was added to the config"


def test_when_the_group_began_is_kept_from_the_first_of_its_commits() -> None:
    commits = {P[0]: Commit(7, Origin(NEW, 2, 5)), P[1]: Commit(7, Origin(NEW, 2, 9))}
    assert start(P[1], commits, facts(2)) == Known(7, Origin(NEW, 2, 5))


def test_an_offset_of_the_topic_before_it_was_made_anew_is_lost() -> None:
    lost = start(P[0], {P[0]: Commit(20, Origin(OLD, 1))}, facts(1))
    assert isinstance(lost, Lost)
    assert lost.offset == 20
    assert OLD in lost.why
    assert NEW in lost.why
    assert lost.origin == Origin(NEW, 0, NOW)


def test_without_commit_metadata_the_origin_of_our_own_last_commit_counts() -> None:
    """The embedded broker: the topic was made anew while the partition was another member's, or nobody's."""
    lost = start(P[0], {P[0]: Commit(20, None)}, facts(1), left=Commit(20, Origin(OLD, 1)))
    assert isinstance(lost, Lost)
    moved_since = start(P[0], {P[0]: Commit(25, None)}, facts(1), left=Commit(20, Origin(OLD, 1)))
    assert isinstance(moved_since, Known), "somebody committed after us: what it belongs to is not known"


def test_an_offset_that_is_gone_is_lost_and_no_new_start() -> None:
    lost = start(P[0], {}, facts(1), left=Commit(30, Origin(NEW, 1)))
    assert isinstance(lost, Lost)
    assert lost.offset == 30


def test_a_partition_beside_one_whose_topic_was_made_anew_starts_at_its_first_record() -> None:
    begin = start(P[1], {P[0]: Commit(20, Origin(OLD, 2))}, facts(2))
    assert isinstance(begin, Begin)
    assert begin.at == "earliest"


def test_a_broker_that_gives_topics_no_id_is_believed() -> None:
    assert start(P[0], {P[0]: Commit(20, Origin(OLD, 1))}, facts(1, "")) == Known(20, Origin("", 1))
    assert start(P[0], {P[0]: Commit(20, Origin("", 1))}, facts(1)) == Known(20, Origin(NEW, 1))


@pytest.mark.parametrize(
    "known",
    [None, TopicFacts(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)), facts(1)],
    ids=["nothing", "refused", "not shown yet"],
)
def test_a_partition_that_kafka_does_not_show_cannot_start_yet(known: TopicFacts | None) -> None:
    assert isinstance(start(P[3], {P[3]: Commit(1, None)}, known), NotYet)


# --- the states that were committed -------------------------------------------------------------------------------


def test_the_places_of_a_commit_come_with_its_offset() -> None:
    places = (Place(7, b"seven"),)
    assert start(P[0], {P[0]: Commit(7, Origin(NEW, 2), places)}, facts(2)) == Known(7, Origin(NEW, 2), places)


def test_a_broker_that_keeps_no_metadata_does_not_take_the_state_of_a_partition_that_comes_back() -> None:
    left = Commit(7, Origin(NEW, 2), (Place(7, b"seven"),))
    back = start(P[0], {P[0]: Commit(7, None)}, facts(2), left=left)
    assert isinstance(back, Known)
    assert back.places == left.places


@pytest.mark.parametrize("commit", [Commit(8, None), Commit(7, Origin(NEW, 2), (Place(7, b""),))])
def test_a_commit_of_somebody_else_has_its_own_state_or_none(commit: Commit) -> None:
    left = Commit(7, Origin(NEW, 2), (Place(7, b"seven"),))
    back = start(P[0], {P[0]: commit}, facts(2), left=left)
    assert isinstance(back, Known)
    assert back.places == commit.places


def test_the_state_of_a_topic_that_was_made_anew_is_void() -> None:
    commit = Commit(7, Origin(OLD, 1), (Place(7, b"four"), Place(9, b"more")))
    lost = start(P[0], {P[0]: commit}, facts(1))
    assert isinstance(lost, Lost)
    assert lost.state_bytes == 8
