"""One run of the demo: start the sidecar, let writers write, watch, drain, sum up."""

import socket
import threading
from collections.abc import Sequence

from rich.console import Console

from examples.demo.cast import cast
from examples.demo.feed import create_topics
from examples.demo.picture import Snapshot, Summary
from examples.demo.pieces import lag_of
from examples.demo.rows import rows
from examples.demo.run import PARTITIONS, Run
from examples.demo.sidecar_process import ROOT, SidecarProcess
from examples.demo.stream import Stream
from examples.demo.traffic import Traffic
from examples.demo.view import View

CONFIG = ROOT / "examples" / "demo.yaml"
RAWDELTAS, DELTAS = "rawdeltas", "deltas"
DOCUMENTS, WRITERS = 3, 3
PACE = 3.0
"""Operations per second of a writer."""

PATIENCE = 20.0
"""Seconds for operations in flight at the end: a process that was killed several times starts again after a pause."""


class Session(Run):
    """A run of the demo."""

    traffic: Traffic

    def __init__(self, console: Console, stop: threading.Event, seconds: float | None) -> None:
        super().__init__(console, stop, seconds, "demo")

    def prepare(self) -> None:
        """See `Run.prepare`."""
        self.sidecar = SidecarProcess(self.folder, CONFIG, {"DEMO_BROKER": f"{free_port()}"})

    def play(self, shown: View) -> None:
        """See `Run.play`."""
        self.wait(shown, "starting the sidecar", lambda: bool(self.status.bootstrap_servers))
        address = self.status.bootstrap_servers
        create_topics(address, [RAWDELTAS, DELTAS], PARTITIONS, replicas=1)
        self.wait(shown, "joining the group", self.all_running)
        self.feed = self.traffic = Traffic(address, RAWDELTAS, self.documents, cast(DOCUMENTS, WRITERS), PACE)
        self.stream = Stream(address, DELTAS, PARTITIONS, self.documents, self.traffic.saw)
        self.stream.start()
        self.traffic.start()
        self.wait(shown, "waiting for the first number", lambda: self.documents.numbers > 0)
        self.go_on(shown, lambda: False)
        # Without deli, nobody would give the last numbers: so the wait is bounded.
        self.finish(shown, "the writers leave", lambda: self.traffic.complete and self.lag() == 0, PATIENCE)
        self.drain(shown)

    def snapshot(self) -> Snapshot:
        """See `Run.snapshot`."""
        return Snapshot(
            seconds=self.now(),
            phase=self.phase,
            ended=self.ended,
            bootstrap_servers=self.status.bootstrap_servers,
            sent=self.sent.flow(),
            numbered=self.numbered.flow(),
            process_ends=self.events.process_ends,
            status=self.lambda_status("deli"),
            rows=rows(self.documents),
            events=[*self.events.latest],
        )

    def summary(self) -> tuple[Sequence[str], Sequence[str]]:
        """See `Run.summary`."""
        assert self.sidecar is not None
        status = self.lambda_status("deli")
        end = Summary(
            seconds=self.lasted,
            produced=self.traffic.produced,
            waiting=self.traffic.waiting,
            lag=lag_of(status),
            process_ends=self.events.process_ends,
            partition_restarts=status.restarts,
            rows=rows(self.documents),
            log=self.sidecar.log.path,
        )
        return end.lines(), end.rows.wrong


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
