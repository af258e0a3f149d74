"""``python -m tests.chaos.exactly_once``: exactly-once under faults, on a real Kafka that stops now and then.

Two sidecars with a copier each (`tests.integration.copier`) copy a topic while records come. Processes are killed,
ended, and frozen, and Kafka is frozen, in the middle of whatever is going on. Again and again, and at the end, what
readers with read_committed see is compared: of each partition the copies are those of its offsets 0, 1, 2, ..., each
once and in this order. At the end none is missing.

Kafka is not killed. A single broker that is killed again while it starts may complete a transaction without writing
its markers, and then readers of its partitions wait for ever. Seen with 4.3.1: the log of transactions said
CompleteAbort, and the partitions that it named had no marker.
"""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException

from tests.integration.harness import NAME, Broker, Program, Sidecar, Stage, Traffic, wait_for
from tests.servers.kafka import KafkaServer
from tests.servers.topics import create_topic, end_offsets, read_all

PARTITIONS = 4
HOWS = ("commit", "held", "sources", "closed")
PATIENCE_S = 120.0
SECONDS = (0.1, 4.0)
"""Of a freeze, and between two faults."""


class Matrix:
    """The world, and its faults."""

    def __init__(self, kafka: KafkaServer, stage: Stage, seed: int, lanes: int) -> None:
        self._kafka = kafka
        self._stage = stage
        self._random = random.Random(seed)
        self._lanes = lanes
        self._number = 0
        self.out = f"{stage.topic}-out"
        stage.create_topic(PARTITIONS)
        create_topic(stage.broker.address, self.out, PARTITIONS)
        self._sidecars: list[Sidecar] = []
        self._copiers: list[Program] = []
        for _ in range(2):
            self._sidecars.append(self._sidecar())
            self._copiers.append(self._copier(self._sidecars[-1]))
        self.faults: dict[str, Callable[[int], None]] = {
            "kill a lambda process": self._kill_copier,
            "kill a sidecar": self._kill_sidecar,
            "end a sidecar": self._end_sidecar,
            "freeze a sidecar": lambda which: self._freeze(self._sidecars[which]),
            "freeze a lambda process": lambda which: self._freeze(self._copiers[which]),
            "freeze Kafka": self._freeze_kafka,
        }

    def one(self) -> str:
        """Let one fault happen. Returns what it was."""
        name = self._random.choice([*self.faults])
        which = self._random.randrange(2)
        self.faults[name](which)
        return f"{name} ({which})"

    def rest(self) -> None:
        """Some time without a fault."""
        time.sleep(self._random.uniform(*SECONDS))

    def copies(self) -> dict[int, list[int]]:
        """The offsets that were copied, by their partition. Raises ``AssertionError`` if one is twice or late."""
        found: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}
        for record in read_all(self._stage.broker.address, self.out):
            partition, offset = map(int, (record.value or b"").split(b":"))
            found[partition].append(offset)
        for partition, offsets in found.items():
            if self._lanes == 1:
                assert offsets == [*range(len(offsets))], f"partition {partition}: {_first_wrong(offsets)}"
            assert len({*offsets}) == len(offsets), f"partition {partition}: an offset was copied twice"
        return found

    def finish(self) -> int:
        """Wait until all is copied. Returns how many records."""
        ends = end_offsets(self._stage.broker.address, self._stage.topic)

        def complete() -> bool:
            try:
                return {partition: len(offsets) for partition, offsets in self.copies().items()} == ends
            except (KafkaException, TimeoutError):
                return False

        wait_for(complete, lambda: f"all of {ends} to be copied", PATIENCE_S)
        return sum(ends.values())

    def _sidecar(self) -> Sidecar:
        self._number += 1
        label = f"s{self._number}"
        options = {
            "produce": [self.out],
            "guarantee": "exactly-once",
            "window": {"messages": 500},
            "lanes": self._lanes,
        }
        config = self._stage.config(label=label, kafka={"session.timeout.ms": 2_000}, **options)
        return self._stage.sidecar(config, label)

    def _copier(self, sidecar: Sidecar) -> Program:
        self._number += 1
        how = self._random.choice(HOWS[:2] if self._lanes > 1 else HOWS)
        command = [sys.executable, "-m", "tests.integration.copier", sidecar.address, NAME, self.out, how]
        return self._stage.program(f"c{self._number}-{how}", command)

    def _kill_copier(self, which: int) -> None:
        self._copiers[which].kill()
        self._copiers[which] = self._copier(self._sidecars[which])

    def _kill_sidecar(self, which: int) -> None:
        self._sidecars[which].kill()
        self._replace(which)

    def _end_sidecar(self, which: int) -> None:
        self._sidecars[which].terminate()
        self._replace(which)

    def _replace(self, which: int) -> None:
        self._copiers[which].kill()
        self._sidecars[which] = self._sidecar()
        self._copiers[which] = self._copier(self._sidecars[which])

    def _freeze(self, program: Program) -> None:
        program.signal(signal.SIGSTOP)
        self.rest()
        program.signal(signal.SIGCONT)

    def _freeze_kafka(self, _: int) -> None:
        self._kafka.pause()
        self.rest()
        self._kafka.resume()


def _first_wrong(offsets: list[int]) -> str:
    at = next(index for index, offset in enumerate(offsets) if index != offset)
    return f"the copies are {offsets[max(0, at - 3) : at + 4]} at {at}"


def main() -> int:
    """Run the command line. Returns the exit code: 0 all held, 1 a breach."""
    parser = argparse.ArgumentParser("python -m tests.chaos.exactly_once", description=__doc__)
    parser.add_argument("--faults", type=int, default=50, metavar="N")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), metavar="N")
    parser.add_argument("--lanes", type=int, default=1, metavar="N", help="of each partition; default %(default)s")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with KafkaServer() as kafka, tempfile.TemporaryDirectory() as folder:
        stage = Stage(Broker("kafka", kafka.address), Path(folder), f"{options.seed}")
        try:
            matrix = Matrix(kafka, stage, options.seed, options.lanes)
            with Traffic(stage, PARTITIONS, 0.005):
                for number in range(options.faults):
                    matrix.rest()
                    print(f"{number + 1}: {matrix.one()}", flush=True)
                    if number % 5 == 4:
                        copied = sum(map(len, matrix.copies().values()))
                        print(f"   {copied} copies, each once and in order", flush=True)
            print(f"all {matrix.finish()} records were copied once, in order", flush=True)
        except BaseException:
            Path("/tmp").joinpath(f"exactly-once-{options.seed}.log").write_text(stage.logs())
            raise
        finally:
            stage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
