"""Runs cases: several at a time, each with a server, an address and a process of its own."""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.conformance import certificates
from sidecar.conformance.case import Case, Security
from sidecar.conformance.events import Event
from sidecar.conformance.front import Front
from sidecar.conformance.host import Certificates, Host
from sidecar.conformance.invariants import Invariants
from sidecar.conformance.program import Program
from sidecar.conformance.rules import Broken, BrokenError
from sidecar.conformance.stage import Stage
from sidecar.conformance.trace import Trace
from sidecar.conformance.welcome import CAPABILITIES, welcome_of

LAMBDA = "graded"
TOKEN = "conformance-token"  # noqa: S105 - it protects nothing
_ENCRYPTED = (Security.TLS, Security.MUTUAL, Security.FOREIGN)
_CANNOT_START = (126, 127)
_END_S = 15.0


class CannotStartError(Exception):
    """The command cannot be started; the text says why."""


@dataclass(slots=True)
class Result:
    """What one case has shown."""

    case: Case
    broken: list[Broken] = field(default_factory=list)
    seconds: float = 0.0
    trace: str = ""
    events: Sequence[Event] = ()
    output: str = ""

    @property
    def holds(self) -> bool:
        """Whether no rule was broken."""
        return not self.broken


async def run_all(
    cases: Iterable[Case], command: Sequence[str], jobs: int, done: Callable[[Result], None]
) -> list[Result]:
    """Run the cases; ``done`` is called with each result as it comes. Returns them in the order of the cases.

    Raises:
        CannotStartError: the command cannot be started. No more cases are begun.
    """
    room = asyncio.Semaphore(jobs)

    async def one(case: Case) -> Result:
        async with room:
            result = await run(case, command)
        done(result)
        return result

    tasks = [asyncio.create_task(one(case)) for case in cases]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run(case: Case, command: Sequence[str]) -> Result:
    """Run one case. Raises ``CannotStartError``."""
    began = asyncio.get_running_loop().time()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        result = await _Run(case, command, Path(folder)).play()
    result.seconds = asyncio.get_running_loop().time() - began
    return result


class _Run:
    """One case from its server's start to the end of its process."""

    def __init__(self, case: Case, command: Sequence[str], folder: Path) -> None:
        self._case = case
        self._command = command
        self._folder = folder
        self._trace = Trace(Invariants(LAMBDA, ahead=case.ahead))

    async def play(self) -> Result:
        case, trace = self._case, self._trace
        host = Host(trace, token=TOKEN if case.security is Security.TOKEN else "")
        encrypted = case.security in _ENCRYPTED
        port = await host.start(_certificates(case.security))
        front = Front(trace, port, path=self._folder / "sidecar.sock" if case.unix else None, encrypted=encrypted)
        host.number_of = front.number_of
        await front.listen()
        program = Program(self._command, self._environment(front.address), trace)
        stage = Stage(trace, host, front, program, case.rule)
        stage.welcome = welcome_of(case)
        stage.capabilities = CAPABILITIES if case.capabilities else ()
        result = Result(case)
        try:
            result.broken = await self._graded(stage)
        finally:
            await program.kill()
            stage.close()
            front.close()
            await host.stop()
        result.trace, result.events, result.output = trace.text(), trace.events, program.output
        return result

    async def _graded(self, stage: Stage) -> list[Broken]:
        """Play the script and the end; returns the rules that were broken, each once, the first ones first."""
        case, trace = self._case, self._trace
        found: list[Broken] = []
        try:
            async with asyncio.timeout(case.time_limit):
                if case.starts:
                    await stage.program.start()
                await case.script(stage)
                if case.ends:
                    await _end(stage)
        except BrokenError as error:
            found.append(error.broken)
        except TimeoutError:
            found.append(Broken(case.rule, f"the case is not over within {case.time_limit:g} s"))
        except Exception:
            # A fault of the kit must not pass for one of the client's, nor end the other cases.
            found.append(Broken(case.rule, f"a fault of the kit: {traceback.format_exc()}"))
        if stage.program.code in _CANNOT_START:
            raise CannotStartError(stage.program.output.strip() or f"{self._command[0]}: cannot be started")
        trace.finish()
        unlike = {(broken.rule, broken.text): broken for broken in [*trace.broken, *found]}
        return [*unlike.values()]

    def _environment(self, address: str) -> dict[str, str]:
        case = self._case
        environment = {
            "KAFKA_SIDECAR_ADDRESS": address,
            "CONFORMANCE_LAMBDA": LAMBDA,
            "CONFORMANCE_CASE": case.name,
            "CONFORMANCE_DO": case.do,
            **case.environment,
        }
        if case.security is Security.TOKEN:
            environment["KAFKA_SIDECAR_TOKEN"] = TOKEN
        files = {}
        if case.security in _ENCRYPTED:
            files["KAFKA_SIDECAR_CA"] = certificates.CA
        if case.security is Security.FOREIGN:
            files["KAFKA_SIDECAR_CA"] = certificates.CLIENT  # it has signed nothing
        if case.security is Security.MUTUAL:
            files["KAFKA_SIDECAR_CERT"] = certificates.CLIENT
            files["KAFKA_SIDECAR_KEY"] = certificates.CLIENT_KEY
        for name, text in files.items():
            path = self._folder / f"{name.lower()}.pem"
            path.write_text(text)
            environment[name] = str(path)
        return environment


async def _end(stage: Stage) -> None:
    """End the process in order, as at the end of every case that has not done it."""
    if not stage.program.running:
        raise BrokenError(41, f"the process ended by itself, with {stage.program.code}")
    stage.terminate()
    code = await stage.exited(41, _END_S)
    stage.check(code == 0, f"after SIGTERM the process ended with {code}, not with 0", 41)


def _certificates(security: Security) -> Certificates | None:
    if security not in _ENCRYPTED:
        return None
    client_ca = certificates.CA.encode() if security is Security.MUTUAL else None
    return Certificates(certificates.SERVER_KEY.encode(), certificates.SERVER.encode(), client_ca)
