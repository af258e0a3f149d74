"""The running sidecar: the order in which its parts start and stop.

The event loop owns sockets, streams and child processes. Each lambda's consumer thread owns its Consumer and its
partitions. They exchange letters through mailboxes (`sidecar.mail`).
"""

import asyncio
import os
import secrets
import signal
from time import monotonic
from typing import Any

from confluent_kafka.admin import AdminClient

from sdk_python.protocol import admin_pb2
from sidecar import tuning
from sidecar.causes import Cause
from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.topic_watch import TopicWatch
from sidecar.config import Config, dial
from sidecar.config.kafka_properties import (
    admin_properties,
    consumer_properties,
    embedded_port,
    lambda_producer_properties,
    producer_properties,
    transactional_properties,
)
from sidecar.consuming.consumer_thread import ConsumerThread
from sidecar.consuming.subscription import watched
from sidecar.embedded import EmbeddedBroker, EmbeddedBrokerError, EmbeddedBrokerMissing
from sidecar.explain import explain
from sidecar.logs import get_logger
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.operate.http import OperateServer
from sidecar.operate.page.feed import Source
from sidecar.operate.page.page import Page
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.records.extension import extension
from sidecar.server.admin import Admin
from sidecar.server.lambda_host import LambdaHost
from sidecar.server.operators import Operators
from sidecar.server.runtime import LambdaRuntime, Own
from sidecar.server.server import Server
from sidecar.server.snapshots import Snapshots, hash_of
from sidecar.server.status_message import status_response
from sidecar.status import Problem
from sidecar.supervise.process import Supervisor
from sidecar.tasks import Tasks

EXIT_OK = 0
EXIT_BROKEN = 1

LEAVE_TIMEOUT_S = 15.0
"""After the drain, committing and leaving the group may take this long."""

WRITE_TIMEOUT_S = 5.0
"""When the sidecar stops, records that lambdas have produced may take this long to reach Kafka."""

STOP_GRACE_S = 2.0
"""When the server stops, calls under way get this time; the last checkpoints have arrived before."""

_log = get_logger(__name__)


async def run(config: Config) -> int:
    """Run until SIGTERM, SIGINT, SIGHUP or SIGQUIT, then drain. Returns the process's exit code, 0 or 1."""
    app = _App(config)
    try:
        await app.start()
    except (OSError, EmbeddedBrokerError, EmbeddedBrokerMissing) as error:
        _log.error("cannot start", error=str(error))
        await app.stop()
        return EXIT_BROKEN
    await app.wait()
    await app.stop()
    return EXIT_BROKEN if app.broken else EXIT_OK


def _to_drain() -> list[signal.Signals]:
    """The signals that make the sidecar drain and end.

    A terminal sends SIGHUP when it closes, and SIGQUIT for Ctrl-\\. If one of them was ignored when the sidecar
    started, as with nohup, the sidecar must outlive it.
    """
    of_a_terminal = [one for one in (signal.SIGHUP, signal.SIGQUIT) if signal.getsignal(one) is not signal.SIG_IGN]
    return [signal.SIGTERM, signal.SIGINT, *of_a_terminal]


def _findings(status: admin_pb2.StatusResponse) -> list[dict[str, Any]]:
    """What a person should know about the sidecar, for the page."""
    return [finding.plain() for finding in explain(status)]


class _App:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._broker: EmbeddedBroker | None = None
        self._threads: dict[str, ConsumerThread] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._lambda_producers: list[LambdaProducer] = []
        self._server: Server | None = None
        self._host: LambdaHost | None = None
        self._operate: OperateServer | None = None
        self._page: Page | None = None
        self._supervisors: dict[str, Supervisor] = {}
        self._watch: TopicWatch | None = None
        self._tasks = Tasks(self._task_died)
        self._tidy: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._faults: list[Problem] = []
        self._ready = False
        self._stop = asyncio.Event()
        self.broken = False

    async def start(self) -> None:
        config = self._config
        loop = self._loop
        for number in _to_drain():
            loop.add_signal_handler(number, self._signalled, number)
        bootstrap = None
        if config.embedded:
            self._broker = EmbeddedBroker(embedded_port(config.kafka["bootstrap.servers"]))
            await self._broker.start()
            bootstrap = self._broker.address
            _log.info("embedded broker started; it keeps nothing", address=bootstrap)
        await asyncio.to_thread(extension)  # tried before there is a call, which would make the loop wait for it
        hosted: dict[str, LambdaRuntime] = {}
        self._host = LambdaHost(hosted, self._set_health, exit=self._exit, stuck=self._kill_stuck)
        asking = AdminClient(admin_properties(config.kafka, bootstrap), logger=ClientLog(get_logger("librdkafka")))
        for name, one in config.lambdas.items():
            outbox = Outbox(loop, self._host.deliver)
            properties = consumer_properties(config.kafka, one, bootstrap)
            producer = producer_properties(config.kafka, bootstrap)
            unique = secrets.token_urlsafe(9)
            transactional = transactional_properties(config.kafka, name, one, unique, bootstrap)
            thread = ConsumerThread(
                name,
                one,
                properties,
                producer,
                transactional,
                asking,
                self._look_at_topics,
                outbox,
                self._thread_ended,
            )
            self._threads[name], self._ended[name] = thread, asyncio.Event()
            lambda_producer = LambdaProducer(name, lambda_producer_properties(config.kafka, bootstrap))
            hosted[name] = LambdaRuntime(one, thread.mailbox, lambda_producer)
            self._lambda_producers.append(lambda_producer)
        snapshots = Snapshots(
            hosted,
            self._host,
            bootstrap or config.kafka["bootstrap.servers"],
            self._own,
            config_hash=hash_of(config),
            draining=self._stop.is_set,
        )
        admin = Admin(hosted, snapshots)
        self._server = Server(config.server, self._host, admin)
        await self._server.start()
        _log.info("listening for lambdas", address=self._server.address, lambdas=sorted(hosted))
        if config.operate is not None:
            source = Source(snapshots.take, status_response, _findings)
            operators = Operators(config.server, self._server.identities)
            self._page = Page(config, source, admin, operators, bootstrap)
            self._operate = OperateServer(
                config.operate.endpoint,
                snapshots.take,
                partition_metrics=config.operate.partition_metrics,
                page=self._page.routes,
            )
            await self._operate.start(self._tasks.spawn)
            self._page.start(self._tasks.spawn)
            _log.info("listening for operators", address=f"http://{self._operate.address}")
        self._renewing = self._tasks.spawn(self._server.renewals.watch(), name="the look at changed files")
        tuning.tune()
        self._tidy = self._tasks.spawn(tuning.tidy(), name="the collector of garbage")
        self._watch = TopicWatch(
            asking, [watched(name, one, self._threads[name].mailbox) for name, one in config.lambdas.items()]
        )
        self._watch.start()
        for thread in self._threads.values():
            thread.start()
        self._supervisors = {
            name: Supervisor(name, one, self._child_environment(name, self._server), self._tasks)
            for name, one in config.lambdas.items()
            if one.command is not None
        }

    async def wait(self) -> None:
        """Wait until the sidecar is to end."""
        await self._stop.wait()

    async def stop(self) -> None:
        """Stop everything, in this order.

        1. Refuse offers, restart no child. 2. Drain, commit, leave the group. 3. End the children. 4. Flush the
        records that lambdas produced. 5. Stop the server. 6. Stop the embedded broker.

        The server stops after the drain, because a stopping gRPC server refuses all calls, and the last checkpoints
        are calls.
        """
        if self._host is not None:
            self._host.refuse("the sidecar shuts down; offer again later")
        for supervisor in self._supervisors.values():
            supervisor.restart_none()
        for thread in self._threads.values():
            thread.mailbox.put(letters.Stop())
        await self._wait_for_threads()
        if self._watch is not None:
            self._watch.stop()
        await asyncio.gather(*(supervisor.stop() for supervisor in self._supervisors.values()))
        if self._page is not None:
            await self._page.stop()
        if self._operate is not None:
            await self._operate.stop()
        await asyncio.gather(*(lambda_producer.stop(WRITE_TIMEOUT_S) for lambda_producer in self._lambda_producers))
        if self._server is not None:
            await self._server.stop(STOP_GRACE_S)
        if self._broker is not None:
            await self._broker.stop()
        for task in filter(None, (self._tidy, self._renewing)):
            task.cancel()
        _log.info("stopped")

    async def _wait_for_threads(self) -> None:
        """Wait until all threads have left their groups, with a limit: without a broker a thread may hang."""
        drains = [self._config.lambdas[name].shutdown_drain for name in self._threads]
        ends = [asyncio.ensure_future(self._ended[n].wait()) for n, thread in self._threads.items() if thread.ident]
        if not ends:
            return
        _, late = await asyncio.wait(ends, timeout=max(drains) + LEAVE_TIMEOUT_S)
        for task in late:
            task.cancel()
        if late:
            self.broken = True
            _log.error("a consumer did not leave its group in time; going on without it", seconds=LEAVE_TIMEOUT_S)

    def _look_at_topics(self) -> None:
        """Have the topics looked up now. Called in a consumer thread."""
        if self._watch is not None:
            self._watch.look()

    def _signalled(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            _log.warning("signalled again: already draining", signal=number.name)
        else:
            _log.info("signalled: draining", signal=number.name)
        self._stop.set()

    def _thread_ended(self, name: str, error: BaseException | None) -> None:
        """Tell the loop that a consumer thread has ended. Called in that thread."""
        self._loop.call_soon_threadsafe(self._note_end, name, error)

    def _note_end(self, name: str, error: BaseException | None) -> None:
        self._threads[name].mailbox.close()
        self._ended[name].set()
        if error is not None:
            self.broken = True
            self._stop.set()  # the exit code must show the failure; the other lambdas drain

    def _exit(self, name: str, reason: str) -> None:
        _log.error("ending: a critical error, and on_critical is exit", lambda_=name, reason=reason)
        self.broken = True
        self._stop.set()

    def _set_health(self, is_healthy: bool) -> None:
        assert self._server is not None
        self._ready = is_healthy
        self._tasks.spawn(self._server.healthy(is_healthy and not self._faults), name="the health that gRPC tells")

    def _task_died(self, fault: str) -> None:
        """A task of the sidecar died: the rest goes on, but the sidecar is no longer ready and reports a problem."""
        self._faults.append(Problem("sidecar", fault, monotonic(), cause=Cause.SIDECAR_FAULT))
        if self._server is not None and not self._stop.is_set():
            self._set_health(self._ready)

    def _own(self, name: str) -> Own:
        """The part of a lambda's status that the loop knows and the consumer thread does not."""
        problems = [*self._faults, *(self._server.renewals.problems() if self._server is not None else ())]
        supervisor = self._supervisors.get(name)
        if supervisor is None:
            return Own(problems, 0)
        return Own([*problems, *supervisor.problems()], supervisor.exits, supervisor.status())

    def _kill_stuck(self, name: str, pid: int) -> None:
        """A process of this lambda may be stuck. If the sidecar runs it, kill it, since nobody else would."""
        supervisor = self._supervisors.get(name)
        if supervisor is None or not supervisor.kill_stuck(pid):
            _log.warning(
                "a lambda process is stuck, and is none that this sidecar runs: end it", lambda_=name, pid=pid
            )

    def _child_environment(self, name: str, server: Server) -> dict[str, str]:
        """The sidecar's environment without the secrets that a lambda does not need: others' tokens, Kafka logins.

        Where lambdas need a token, the process gets one of its own, which is good for this lambda and nothing else.
        """
        address, token = server.address, server.identities.for_command(name)
        withheld = self._config.withheld(name) | {"KAFKA_SIDECAR_ADMIN_TOKEN"}
        environment = {variable: value for variable, value in os.environ.items() if variable not in withheld}
        environment["KAFKA_SIDECAR_ADDRESS"] = dial(address)
        if self._config.source is not None:
            environment["KAFKA_SIDECAR_CONFIG"] = str(self._config.source.resolve())
        if token is not None:
            environment["KAFKA_SIDECAR_TOKEN"] = token
        return environment
