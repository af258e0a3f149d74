"""The cases of the conformance kit the other way round: a scripted client against the real sidecar."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.conformance.cases import CASES
from tests.integration.harness import Broker, Sidecar
from tests.integration.mirror import edges, features, lives, work
from tests.integration.mirror.client import Client
from tests.integration.mirror.reasons import WITHOUT
from tests.integration.mirror.table import MIRRORS
from tests.servers import topics

TOKEN = "mirror-token"
AT_A_TIME = 6

__all__ = ["edges", "features", "lives", "work"]  # importing them fills `MIRRORS`


def test_each_case_has_a_mirror_or_a_reason() -> None:
    mirrored = [case for mirror in MIRRORS.values() for case in mirror.cases]
    assert len(mirrored) == len(set(mirrored))
    assert sorted([*mirrored, *WITHOUT]) == sorted(CASES)


@pytest.fixture(scope="module")
def played(embedded: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, BaseException | None]]:
    """What became of each script: its error, or None."""
    folder = tmp_path_factory.mktemp("mirror")
    unique = uuid.uuid4().hex[:6]
    named = {name: f"{name}-{unique}" for name in MIRRORS}
    lambdas = {}
    for name, mirror in MIRRORS.items():
        topics.create_topic(embedded.address, named[name], mirror.partitions)
        topics.create_topic(embedded.address, f"{named[name]}-out")
        produce = [f"{named[name]}-out"]
        lambdas[name] = {"topic": named[name], "group": named[name], "produce": produce, **mirror.options}
    server = {"listen": f"unix://{folder}/sidecar.sock", "token": TOKEN}
    sidecar = Sidecar(folder, {"kafka": embedded.properties, "server": server, "lambdas": lambdas})
    try:
        sidecar.wait_until_listening()
        yield asyncio.run(_play_all(sidecar.address, named, embedded.address))
    finally:
        sidecar.close()


async def _play_all(address: str, named: dict[str, str], broker: str) -> dict[str, BaseException | None]:
    room = asyncio.Semaphore(AT_A_TIME)

    async def play(name: str) -> BaseException | None:
        async with room:
            client = Client(address, TOKEN, name, named[name], broker)
            try:
                await MIRRORS[name].script(client)
            except Exception as error:  # the test of this script raises it
                return error
            finally:
                await client.leave()
            client.trace.finish()
            broken = MIRRORS[name].breaks
            faults = [f for f in client.trace.faults if not any(f.startswith(f"R{rule}:") for rule in broken)]
            return AssertionError("\n".join(faults)) if faults else None

    outcomes = await asyncio.gather(*map(play, MIRRORS))
    return dict(zip(MIRRORS, outcomes, strict=True))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MIRRORS)
def test_mirror(played: dict[str, BaseException | None], name: str) -> None:
    error = played[name]
    if error is not None:
        raise error


def test_folder_of_scripts_is_whole() -> None:
    """A file of scripts that nobody imports would test nothing."""
    folder = Path(lives.__file__).parent
    scripts = {path.stem for path in folder.glob("*.py") if "@mirrors(" in path.read_text()}
    assert scripts == set(__all__)
