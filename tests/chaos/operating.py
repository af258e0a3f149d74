"""The operator: resumes halted partitions after a while, and seeks when the schedule says so."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from random import Random

import grpc

from sdk_python.protocol import admin_pb2
from tests.chaos.journal import Journal
from tests.chaos.world import TOPIC, World
from tests.integration.harness import NAME, ROOT, Sidecar

INTERVAL_S = 0.5
"""Seconds between two polls of all sidecars."""


def can(command: str) -> bool:
    """Whether this version of `kafka-sidecar` has the command."""
    asked = [sys.executable, "-m", "sidecar", command, "--help"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


class Operator:
    """Polls in a thread of its own: a sidecar that is frozen meanwhile answers late or never."""

    def __init__(self, world: World, journal: Journal, seed: int) -> None:
        self._world = world
        self._journal = journal
        self._random = Random(seed)
        self._seeks: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._halted: dict[str, float] = {}
        """When each halted partition, or lane, will be resumed."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operator")
        self.states: dict[str, str] = {}
        """The last known state of each partition, or lane, from the sidecar that owns it."""
        self.resumes = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def seek(self, partition: int, amount: int) -> None:
        """Move a partition ``amount`` records back, soon."""
        self._seeks.put((partition, amount))

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            states: dict[str, str] = {}
            for _, sidecar in self._world.sidecars():
                for one in _partitions(sidecar):
                    state = admin_pb2.PartitionState.Name(one.state).removeprefix("PARTITION_STATE_").lower()
                    where = f"{one.partition}.{one.lane}" if one.lanes > 1 else f"{one.partition}"
                    states[where] = f"{sidecar.label} {state} {one.reason}".strip()
                    if one.state == admin_pb2.PARTITION_STATE_HALTED:
                        self._resume(sidecar, where)
            self.states = states
            while not self._seeks.empty() and not self._stop.is_set():
                self._seek(*self._seeks.get())

    def _resume(self, sidecar: Sidecar, where: str) -> None:
        """Resume a partition, or a lane, that has been halted for a random time."""
        due = self._halted.setdefault(where, time.monotonic() + self._random.uniform(0.2, 2.5))
        if time.monotonic() < due:
            return
        del self._halted[where]
        code, text = _cli(sidecar, "resume", f"{NAME}/{TOPIC}/{where}")
        self.resumes += code == 0
        self._journal.write("resumed", partition=where, sidecar=sidecar.label, code=code, text=text)

    def _seek(self, partition: int, amount: int) -> None:
        for _, sidecar in self._world.sidecars():
            for one in _partitions(sidecar):
                if one.partition == partition and one.HasField("checkpoint"):
                    target = max(0, one.checkpoint + 1 - amount)
                    sent = time.monotonic()
                    where = f"{NAME}/{TOPIC}/{partition}"
                    self._journal.write("seeking", partition=partition, target=target, sidecar=sidecar.label)
                    code, text = _cli(sidecar, "seek", where, "--to", str(target))
                    what = {"partition": partition, "target": target, "sent": sent, "code": code, "text": text}
                    self._journal.write("sought", sidecar=sidecar.label, **what)
                    return


def _partitions(sidecar: Sidecar) -> list[admin_pb2.Partition]:
    try:
        return [*sidecar.lambda_status(NAME).partitions] if sidecar.log("listening for lambdas") else []
    except (grpc.RpcError, StopIteration):
        return []


def _cli(sidecar: Sidecar, *arguments: str) -> tuple[int, str]:
    try:
        done = sidecar.cli(*arguments)
    except subprocess.TimeoutExpired:
        return -1, "no answer in time"
    return done.returncode, (done.stdout or done.stderr).strip()[-300:]
