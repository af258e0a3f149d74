"""How partitions are placed: one by one, by answers that come later, and never after they have gone."""

from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition

from sidecar.cluster.origins import Origins
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming import positions
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.positions import Positions
from sidecar.consuming.problems import Problems
from sidecar.consuming.subscription import Subscription
from sidecar.mail.facts import Commit, Edges, Origin
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Limits, RevokeReason, State, TopicPartition

from .played_inquiries import MISSING, TIMED_OUT, PlayedInquiries, topic
from .recorder import Recorder

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
ID = "AAAAAAAAAAAAAAAAAAAAAQ"
OTHER = "AAAAAAAAAAAAAAAAAAAAAg"


class Client:
    """In the place of a consumer: where it was told to read."""

    def __init__(self) -> None:
        self.moves: list[dict[int, int]] = []
        self.seekable = True

    def incremental_unassign(self, partitions: list[KafkaPartition]) -> None:
        """Its place is told with the assignment."""

    def incremental_assign(self, partitions: list[KafkaPartition]) -> None:
        self.moves.append({p.partition: p.offset for p in partitions})

    def unassign(self) -> None:
        """Its place is told with the assignment."""

    def assign(self, partitions: list[KafkaPartition]) -> None:
        self.moves.append({p.partition: p.offset for p in partitions})

    def seek(self, place: KafkaPartition) -> None:
        if not self.seekable:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.moves.append({place.partition: place.offset})


class World:
    """Two partitions of one topic, whose log has 5 to 50; a clock; a broker that answers at once."""

    def __init__(self, *, cooperative: bool = True, **options: Any) -> None:
        names = iter(f"L{number}" for number in range(1, 100))
        self.now = 100.0
        self.recorder = Recorder()
        self.client = Client()
        self.broker = PlayedInquiries({"t": topic(ID, 1, 1)})
        self.broker.edges_are = {P0: Edges(5, 50), P1: Edges(5, 50)}
        self.table = PartitionTable(Limits(), lambda: next(names), lambda: 1.0)
        config = LambdaConfig.model_validate({"topic": "t", "group": "g", **options})
        self.subscription = Subscription(config, Problems(self.recorder.log), self.recorder.log)
        self.subscription.learn(self.broker.facts, [])
        self.buffer = FetchBuffer()
        self.origins = Origins()
        self.positions = Positions(
            cast("Consumer", self.client),
            self.table,
            self.buffer,
            config,
            self.subscription,
            self.broker.as_inquiries,
            self.origins,
            self.recorder.log,
            lambda _: None,
            cooperative=cooperative,
        )

    def assigned(self, *tps: TopicPartition) -> None:
        self.table.assigned(tps)
        self.positions.assigned(tps)

    def work(self, seconds: float = positions.RETRY_AFTER_S) -> set[TopicPartition]:
        """Time passes; which are read anew."""
        self.now += seconds
        return {*self.positions.work()}

    def states(self) -> list[State]:
        return [self.table.partitions[tp].state for tp in (P0, P1) if tp in self.table.partitions]

    def made_anew(self) -> None:
        """The topic has another id now, and that was seen."""
        self.broker.facts["t"] = topic(OTHER, 1, 1)
        self.subscription.learn(self.broker.facts, self.table.partitions)
        self.positions.learned()


def belongs_to(world: World) -> tuple[str, int] | None:
    """Of the first partition: the topic's id, and its partitions when the group began."""
    origin = world.origins.get(P0)
    return None if origin is None else (origin.topic_id, origin.partitions_at_start)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(positions, "monotonic", lambda: made.now)
    return made


def use(monkeypatch: pytest.MonkeyPatch, made: World) -> World:
    monkeypatch.setattr(positions, "monotonic", lambda: made.now)
    return made


def test_a_committed_offset_is_where_it_starts_and_the_client_is_there_already(world: World) -> None:
    world.broker.commits_are = {P0: Commit(7, Origin(ID, 2))}
    world.assigned(P0)
    assert world.work() == {P0}, "it begins to be read, and may be paused in the client from before"
    assert world.table.partitions[P0].position.resume_at == 7
    assert world.states() == [State.WAITING]
    assert world.client.moves == []
    assert world.origins.get(P0) == Origin(ID, 2)


def test_a_new_groups_resume_offset_is_committed_before_a_lambda_gets_the_partition(world: World) -> None:
    world.assigned(P0, P1)
    assert world.work(0) == {P0, P1}
    assert world.client.moves == [{0: 5, 1: 5}]
    assert world.states() == [State.RESOLVING, State.RESOLVING]
    assert [world.table.partitions[tp].position.to_commit() for tp in (P0, P1)] == [5, 5]
    world.table.committed(P0, 5, world.now)
    assert world.states() == [State.WAITING, State.RESOLVING]
    assert world.recorder.told()[-1] == ("info", "no committed offset: starting at the earliest")


def test_one_without_a_leader_does_not_keep_the_other_from_starting(world: World) -> None:
    world.broker.facts["t"] = topic(ID, 1, -1)
    world.assigned(P0, P1)
    world.work()
    world.table.committed(P0, 5, world.now)
    assert world.states() == [State.WAITING, State.RESOLVING]
    assert world.table.partitions[P1].trouble.reason == "no broker leads the partition"
    world.broker.facts["t"] = topic(ID, 1, 1)
    world.work()
    assert world.table.partitions[P1].position.resume_at == 5


def test_one_that_is_refused_does_not_keep_the_other_from_starting(world: World) -> None:
    world.broker.edges_are[P1] = TIMED_OUT
    world.assigned(P0, P1)
    world.work()
    assert [world.table.partitions[tp].position.resume_at for tp in (P0, P1)] == [5, -1]
    assert "timed out" in world.table.partitions[P1].trouble.reason
    world.work(0.01)
    assert world.broker.asked.count("edges") == 1, "not at once again"
    world.broker.edges_are[P1] = Edges(5, 50)
    world.work()
    assert world.table.partitions[P1].position.resume_at == 5


def test_a_committed_offset_needs_no_leader(world: World) -> None:
    world.broker.facts["t"] = topic(ID, -1, -1)
    world.broker.commits_are = {P0: Commit(7, Origin(ID, 2))}
    world.assigned(P0)
    world.work()
    assert world.states() == [State.WAITING]


def test_a_group_whose_offsets_cannot_be_asked_for_is_said_once(world: World) -> None:
    world.broker.commits_are = TIMED_OUT
    world.assigned(P0)
    for _ in range(3):
        world.work()
    assert world.recorder.told() == [("warning", "a partition cannot start yet; asking again")]
    assert "cannot ask Kafka for the group's offsets" in world.table.partitions[P0].trouble.reason


def test_an_answer_for_a_partition_that_went_and_came_again_is_not_taken(world: World) -> None:
    world.broker.holds = True
    world.broker.commits_are = {P0: Commit(7, Origin(ID, 2))}
    world.assigned(P0)
    world.work()
    world.positions.forget([P0])
    world.table.forget([P0])
    world.broker.commits_are = {P0: Commit(9, Origin(ID, 2))}
    world.assigned(P0)
    world.broker.answer()
    assert world.states() == [State.RESOLVING]
    world.work()
    world.broker.answer()
    assert world.table.partitions[P0].position.resume_at == 9


def test_an_answer_during_the_shutdown_changes_nothing(world: World) -> None:
    world.broker.holds = True
    world.assigned(P0)
    world.work()
    world.table.revoke_all(RevokeReason.SHUTDOWN, 1.0, world.now)
    world.positions.stop()
    world.broker.answer()
    assert world.states() == [State.DRAINING]
    assert world.client.moves == []


@pytest.mark.parametrize(("policy", "place"), [("earliest", 5), ("latest", 50)])
def test_an_offset_of_the_topic_before_is_lost(monkeypatch: pytest.MonkeyPatch, policy: str, place: int) -> None:
    world = use(monkeypatch, World(on_offset_lost=policy))
    world.broker.commits_are = {P0: Commit(20, Origin(OTHER, 1))}
    world.assigned(P0)
    world.work()
    assert world.client.moves == [{0: place}]
    assert world.states() == [State.RESOLVING], "first its place is committed"
    assert world.table.partitions[P0].position.to_commit() == place
    assert belongs_to(world) == (ID, 0)
    assert world.recorder.told() == [("error", f"offset lost: going on at the {policy}")]
    fields = world.recorder.fields[-1]
    assert (fields["offset"], fields["earliest"], fields["latest"]) == (20, 5, 50)


def test_a_topic_made_anew_while_its_lambda_runs_is_read_from_its_beginning(world: World) -> None:
    world.broker.commits_are = {P0: Commit(20, Origin(ID, 1))}
    world.assigned(P0)
    world.work()
    world.table.available(1, "process", 1 << 20, world.now)
    world.table.ready(1, "L1", world.now)
    assert world.states() == [State.RUNNING]
    world.made_anew()
    world.work(0)
    assert world.client.moves == [{0: 5}]
    assert world.states() == [State.RESOLVING]
    assert world.table.partitions[P0].lease is None
    assert belongs_to(world) == (OTHER, 0)
    world.made_anew()
    world.work()
    assert len(world.client.moves) == 1, "it is said once"


def test_a_topic_made_anew_halts_where_the_config_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = use(monkeypatch, World(on_offset_lost="halt"))
    world.broker.commits_are = {P0: Commit(20, Origin(ID, 1))}
    world.assigned(P0)
    world.work()
    world.made_anew()
    world.work(0)
    assert world.states() == [State.HALTED]
    assert world.table.partitions[P0].position.to_commit() is None, "the next start must see the loss again"


def test_a_topic_that_is_gone_is_waited_for(world: World) -> None:
    world.broker.facts["t"] = MISSING
    world.assigned(P0)
    world.work()
    assert world.states() == [State.RESOLVING]
    world.broker.facts["t"] = topic(ID, 1, 1)
    world.work()
    assert world.table.partitions[P0].position.resume_at == 5


def test_an_offset_that_the_log_has_after_all_is_read_again(world: World) -> None:
    world.broker.commits_are = {P0: Commit(20, Origin(ID, 1))}
    world.assigned(P0)
    world.work()
    world.positions.offset_gone(P0)
    world.work()
    assert world.client.moves == [{0: 20}]
    assert world.recorder.told() == []


def test_an_offset_that_the_log_does_not_have_is_lost(world: World) -> None:
    world.broker.commits_are = {P0: Commit(3, Origin(ID, 1))}
    world.assigned(P0)
    world.work()
    world.positions.offset_gone(P0)
    world.work()
    assert world.client.moves == [{0: 5}]
    assert world.recorder.told() == [("error", "offset lost: going on at the earliest")]


def test_the_eager_protocol_moves_all_and_keeps_the_others_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    world = use(monkeypatch, World(cooperative=False))
    world.broker.facts["t"] = topic(ID, 1, -1)
    world.broker.commits_are = {P0: Commit(20, Origin(ID, 1))}
    world.assigned(P0, P1)
    world.work()
    world.client.seekable = False
    world.positions.rewind(P0, 17)
    assert world.client.moves == [{0: 17, 1: OFFSET_STORED}]
    assert world.work(0) == {P0, P1}
