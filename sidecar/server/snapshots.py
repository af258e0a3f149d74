"""Takes snapshots of the sidecar: asks each consumer thread, and adds what the event loop knows. Runs on the loop."""

import hashlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic, time

from sidecar.config import Config
from sidecar.mail import letters
from sidecar.redact import masked
from sidecar.server.lambda_host import LambdaHost
from sidecar.server.runtime import LambdaRuntime, Own
from sidecar.status import LambdaStatus, SidecarStatus
from sidecar.version import VERSION

HASH_DIGITS = 12

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Snapshots:
    """The snapshots of one sidecar."""

    def __init__(
        self,
        lambdas: Mapping[str, LambdaRuntime],
        host: LambdaHost,
        bootstrap_servers: str,
        own: Callable[[str], Own] = lambda _: Own([], 0),
        *,
        config_hash: str = "",
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """``host`` knows the processes; ``own`` returns the loop's part of a lambda's status, by its name."""
        self._lambdas = lambdas
        self._host = host
        self._bootstrap_servers = bootstrap_servers
        self._own = own
        self._config_hash = config_hash
        self._draining = draining
        self._started_at = monotonic()

    async def take(self) -> SidecarStatus:
        """Ask all consumer threads. Raises ``GoneError`` when one of them has ended."""
        replies: dict[str, letters.Reply[LambdaStatus]] = {}
        for name, hosted in self._lambdas.items():
            replies[name] = letters.Reply()
            hosted.mailbox.put(letters.Inspect(replies[name]))
        lambdas = {name: self._completed(name, await reply.future) for name, reply in replies.items()}
        now = monotonic()
        return SidecarStatus(
            version=VERSION,
            host=socket.gethostname(),
            pid=os.getpid(),
            bootstrap_servers=self._bootstrap_servers,
            config_hash=self._config_hash,
            started_at=self._started_at,
            taken_at=now,
            wall_clock=time() - now,
            memory_bytes=_resident_bytes(),
            draining=self._draining(),
            lambdas=lambdas,
        )

    def _completed(self, name: str, status: LambdaStatus) -> LambdaStatus:
        """The status with the event loop's part."""
        lambda_producer = self._lambdas[name].lambda_producer
        own = self._own(name)
        return replace(
            status,
            problems=[*status.problems, *own.problems],
            processes=self._host.introduce(name, status.processes),
            produced=status.produced + lambda_producer.written,
            produce_failures=dict(lambda_producer.failures),
            loop=self._lambdas[name].measure.now,
            process_exits=own.process_exits,
            supervised=own.supervised,
        )


def hash_of(config: Config) -> str:
    """A short text that is equal for equal settings, whatever their secrets are."""
    shown = json.dumps(masked(config.model_dump(mode="json")), sort_keys=True)
    return hashlib.sha256(shown.encode()).hexdigest()[:HASH_DIGITS]


def _resident_bytes() -> int:
    """The memory of this process; 0 where the system does not tell (elsewhere than on Linux)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
