"""One run of the pipeline: servers, topics, the sidecar with both lambdas, traffic, drain, check, sum up."""

import json
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pymongo.errors import PyMongoError
from rich.console import Console

from examples.demo.cast import cast
from examples.demo.feed import Feed, create_topics
from examples.demo.meter import Meter
from examples.demo.rows import rows
from examples.demo.run import PARTITIONS, Run, RunError
from examples.demo.sidecar_process import SidecarProcess
from examples.demo.stream import Stream
from examples.demo.traffic import Traffic
from examples.demo.view import View
from examples.pipeline.picture import Snapshot, Summary
from examples.pipeline.recorded import Recorded, recordings
from examples.pipeline.servers import Servers
from examples.pipeline.setting import Names, config
from examples.pipeline.stored import Stored, contradictions
from examples.scriptorium.store import describe

DOCUMENTS, WRITERS = 8, 3
PACE = 6.0
"""Operations per second of a writer."""

PATIENCE = 30.0
"""Seconds for operations in flight at the end."""

SILENCE = 1.0
"""After this many seconds without a new number, a recording counts as numbered."""


class Session(Run):
    """A run of the pipeline."""

    stored: Stored

    def __init__(
        self,
        console: Console,
        stop: threading.Event,
        seconds: float | None,
        servers: tuple[str | None, str | None],
        recorded: Path | None,
        keep: bool,
    ) -> None:
        """``servers`` are Kafka and the database; None: start them. ``keep``: leave topics and data at the end."""
        super().__init__(console, stop, seconds, "pipeline")
        self.names = Names(uuid.uuid4().hex[:8])
        self._servers = Servers(self.say)
        self._given = servers
        self._recorded = recorded
        self._keep = keep
        self._kafka = ""
        self._handled: dict[int, int] = {}
        self._deli, self._stored = Meter(), Meter()
        self._quiet_since = (0, 0.0)
        self._wrong: list[str] = []
        self._found = 0

    def prepare(self) -> None:
        """Prepare servers and topics, before anything is shown. Raises ``RunError`` when that fails."""
        kafka, mongo = self._given
        if self._recorded is not None:
            try:
                recordings(self._recorded)
            except ValueError as error:
                raise RunError(str(error)) from None
        self._kafka = self._servers.kafka(kafka)
        mongo = self._servers.database(mongo)
        for line in self.names.lines():
            self.say(line)
        create_topics(self._kafka, [self.names.rawdeltas, self.names.deltas], PARTITIONS, replicas=-1)
        self.stored = Stored(mongo, self.names)
        path = self.folder / "config.yaml"
        path.write_text(json.dumps(config(self.names, self._kafka, self._recorded is not None), indent=2))
        self.sidecar = SidecarProcess(self.folder, path, {"PIPELINE_MONGO": mongo})

    def play(self, shown: View) -> None:
        """See `Run.play`."""
        self.stored.start()
        self.wait(shown, "joining the groups", self.all_running)
        self.feed = self._new_feed()
        self.stream = Stream(self._kafka, self.names.deltas, PARTITIONS, self.documents, self.feed.saw)
        self.stream.start()
        self.feed.start()
        self.wait(shown, "waiting for the first number", lambda: self.documents.numbers > 0)
        self.go_on(shown, lambda: self._recorded is not None and self._is_through())
        done = self.finish(shown, "what is under way ends", self._is_through, PATIENCE)
        self.drain(shown)
        self._check(done)

    def look(self) -> None:
        """See `Run.look`."""
        super().look()
        now = self.now()
        for one in self.lambda_status("deli").partitions:
            if one.HasField("handled"):  # after a restart it counts from zero; earlier operations stay handled
                self._handled[one.partition] = max(one.handled + 1, self._handled.get(one.partition, 0))
        self._deli.add(now, sum(self._handled.values()))
        self._stored.add(now, self.stored.count)
        if self._quiet_since[0] != self.documents.numbers or not self.documents.numbers:
            self._quiet_since = self.documents.numbers, now

    def snapshot(self) -> Snapshot:
        """See `Run.snapshot`."""
        return Snapshot(
            seconds=self.now(),
            phase=self.phase,
            ended=self.ended,
            where=f"{self._kafka}, run {self.names.run}",
            rawdeltas=self.sent.flow(),
            deli=self._deli.flow(),
            deltas=self.numbered.flow(),
            stored=self._stored.flow(),
            away=self.stored.away,
            deli_status=self.lambda_status("deli"),
            scriptorium_status=self.lambda_status("scriptorium"),
            rows=rows(self.documents),
            events=[*self.events.latest],
        )

    def summary(self) -> tuple[Sequence[str], Sequence[str]]:
        """See `Run.summary`."""
        assert self.sidecar is not None
        assert self.feed is not None
        end = Summary(
            seconds=self.lasted,
            produced=self.feed.produced,
            waiting=self.feed.waiting,
            stored=self._found,
            process_ends=self.events.process_ends,
            partition_restarts=sum(one.restarts for one in self.status.lambdas),
            rows=rows(self.documents),
            log=self.sidecar.log.path,
        )
        wrong = [*end.rows.wrong, *self._wrong]
        verdict = [] if wrong else ["  check           each document's numbers from 1 on are stored, each once"]
        return [*end.lines(), *verdict, *self._leave_nothing(not wrong)], wrong

    def close(self) -> None:
        """See `Run.close`."""
        super().close()
        if hasattr(self, "stored"):
            self.stored.stop()
        self._servers.close()

    # --- inside -------------------------------------------------------------------------------------------------

    def _new_feed(self) -> Feed:
        if self._recorded is not None:
            return Recorded(self._kafka, self.names.rawdeltas, recordings(self._recorded))
        people = cast(DOCUMENTS, WRITERS)
        return Traffic(self._kafka, self.names.rawdeltas, self.documents, people, PACE)

    def _is_through(self) -> bool:
        """Whether every sent operation has its number and is stored."""
        assert self.feed is not None
        if not self.feed.complete or self.stored.count != self.documents.numbers:
            return False
        if not isinstance(self.feed, Recorded):
            return self.lag() == 0
        # Recorded clients do not leave, and deli holds back the last record of each document that has clients.
        deli = self.lambda_status("deli").partitions
        kept_back = sum(one.outstanding for one in deli) <= len(self.feed.documents)
        handled = sum(self._handled.values()) >= self.feed.produced
        return handled and kept_back and self.now() - self._quiet_since[1] > SILENCE

    def _check(self, done: bool) -> None:
        if not done:
            self._wrong.append(f"not all that was under way was stored within {PATIENCE:g} s")
        given = {name: one.number for name, one in self.documents.all.items()}
        try:
            numbers = self.stored.numbers()
        except PyMongoError as error:
            self._wrong.append(f"the store cannot be checked: {describe(error)}")
            return
        self._found = sum(map(len, numbers.values()))
        self._wrong += contradictions(given, numbers)

    def _leave_nothing(self, well: bool) -> list[str]:
        """Remove the run's topics and data from a named cluster or database, unless there is an error to look at."""
        if self._given == (None, None):
            return []
        if self._keep or not well:
            return ["  left behind:", *(f"    {line}" for line in self.names.lines())]
        try:
            self.stored.remove()
            admin = AdminClient({"bootstrap.servers": self._kafka, "log_level": 0})
            for removed in admin.delete_consumer_groups(self.names.groups, request_timeout=10).values():
                removed.result(10)
            for removed in admin.delete_topics(self.names.topics, operation_timeout=10).values():
                removed.result(10)
        except (PyMongoError, KafkaException) as error:
            return [f"  not all of it could be removed: {error}", *(f"    {line}" for line in self.names.lines())]
        return ["  its topics, groups and collection are removed again"]
