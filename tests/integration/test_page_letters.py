"""The page's dead letters on real brokers, without a browser: bounds, one replay at a time, a replay that stops."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.config import Config
from sidecar.operate.page import dead_letters as module
from sidecar.operate.page.dead_letters import DeadLetterDesk
from sidecar.operate.page.refusal import Refusal
from tests.integration.dead import dead_topic
from tests.integration.harness import PATIENCE, Stage
from tests.integration.workbench import numbers, write_letters
from tests.unit.waiting import until


def desk_of(stage: Stage) -> DeadLetterDesk:
    """The desk of a sidecar with the stage's config."""
    return DeadLetterDesk(Config.model_validate(stage.config(on_critical="dead-letter")), None)


def state_of(desk: DeadLetterDesk) -> dict[str, Any]:
    """The latest replay."""
    state: dict[str, Any] = desk.state()["replay"]
    return state


async def ended(desk: DeadLetterDesk) -> dict[str, Any]:
    """Wait for the end of the replay."""
    await until(lambda: state_of(desk)["state"] != "running", "the replay to end", PATIENCE)
    return state_of(desk)


def test_groups_and_a_letter(stage: Stage) -> None:
    write_letters(stage, 5)

    async def look() -> tuple[dict[str, Any], dict[str, Any]]:
        desk = desk_of(stage)
        groups = await desk.groups()
        [group] = groups["groups"]
        return groups, await desk.letter(group["topic"], group["fingerprint"])

    groups, letter = asyncio.run(look())
    assert groups["left_out"] == 0
    [group] = groups["groups"]
    assert (group["topic"], group["letters"], group["open"]) == (dead_topic(stage), 5, 5)
    assert letter["fingerprint"] == group["fingerprint"]
    assert letter["replayed"] is False
    assert letter["value"] in {"0", "1", "2", "3", "4"}


def test_only_dead_letters_of_the_config_are_read(stage: Stage) -> None:
    """The page must not become a way to read any topic."""
    write_letters(stage, 1)

    async def look() -> None:
        desk = desk_of(stage)
        with pytest.raises(Refusal, match="is no dead-letter topic of this sidecar's lambdas"):
            await desk.letter(stage.topic, f"{stage.topic}/0/0")
        with pytest.raises(Refusal, match="there is no dead letter 00000000 in"):
            await desk.letter(dead_topic(stage), "00000000")
        with pytest.raises(Refusal, match="expected a letter as TOPIC/PARTITION/OFFSET"):
            await desk.letter(dead_topic(stage), "everything")
        desk.replay(stage.topic, "00000000", "ann")
        assert (await ended(desk))["state"] == "failed"

    asyncio.run(look())


def test_more_letters_than_the_sidecar_has_memory_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LETTERS", 20)
    write_letters(stage, 30)

    async def look() -> None:
        desk = desk_of(stage)
        with pytest.raises(Refusal, match="kafka-sidecar dead-letters") as refused:
            await desk.groups()
        assert refused.value.status == 422
        desk.replay(dead_topic(stage), f"{dead_topic(stage)}/0/0", "ann")
        state = await ended(desk)
        assert (state["state"], state["replayed"]) == ("failed", 0)
        assert "kafka-sidecar dead-letters" in state["text"]

    asyncio.run(look())


@pytest.mark.kafka
def test_a_replay_that_is_stopped_is_finished_by_the_next(kafka_stage: Stage) -> None:
    """It ends after the transaction that is open. Each record is there once, in the order of the source."""
    stage = kafka_stage
    write_letters(stage, 5_000)

    async def replay() -> None:
        desk = desk_of(stage)
        [group] = (await desk.groups())["groups"]
        desk.replay(group["topic"], group["fingerprint"], "ann")
        with pytest.raises(Refusal, match="a replay is running"):
            desk.replay(group["topic"], group["fingerprint"], "bob")
        await until(lambda: state_of(desk)["replayed"] > 0, "a batch to be replayed", PATIENCE)
        stopped = (await desk.stop())["replay"]
        assert stopped["state"] == "stopped"
        assert 0 < stopped["replayed"] < 5_000
        [left] = (await desk.groups())["groups"]
        assert left["open"] == 5_000 - stopped["replayed"]
        desk.replay(group["topic"], group["fingerprint"], "bob")
        finished = await ended(desk)
        assert (finished["state"], finished["replayed"]) == ("finished", left["open"])

    asyncio.run(replay())
    assert numbers(stage) == {0: [*range(5_000)]}
