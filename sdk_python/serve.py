"""Serve a lambda: ``python -m sdk_python.serve NAME [MODULE]``, or `run` from a program of your own.

Exit codes: 0 after SIGTERM or SIGINT and a drain; 1 when the plugin failed to start or a lambda did not end in time;
2 when an option, a config, a plugin or TLS cannot be used, or when the sidecar refuses the first Offer. After a
lambda's ``sys.exit(code)`` the process drains and ends with that code.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Final

from ._allocator import keep_freed_memory
from ._bound import Bound, children_end_by_signals
from ._client import DRAIN_TIMEOUT_S, Client, Options
from ._config import ADDRESS_VARIABLE, CONFIG_VARIABLE, TOKEN_VARIABLE, LambdaConfig, find_config, read_config
from ._connection import Endpoint
from ._errors import PluginError, RefusedError, SettingsError, message_of, type_of
from ._event_loop import new_event_loop
from ._interfaces import IPlugin
from ._json_log import JsonFormatter
from ._leaving import EXITS, exit_code
from ._loading import VERSION_VARIABLE, as_plugin, load_plugin
from ._log import log
from ._operate import METRICS_VARIABLE, Address, Operated, OperateServer, parse_address
from ._settings import ENVIRONMENT_PREFIX, Override, from_environment, parse_assignment
from ._stderr import StderrHandler
from ._tls import Files, Tls, from_files
from ._watchdog import Watchdog

__all__ = ["run", "main"]

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
CA_VARIABLE: Final = "KAFKA_SIDECAR_CA"
CERTIFICATE_VARIABLE: Final = "KAFKA_SIDECAR_CERT"
KEY_VARIABLE: Final = "KAFKA_SIDECAR_KEY"
DOCUMENT_LAMBDA_VARIABLE: Final = "documentLambda"  # as nconf spells it in Fluid Framework's kafka-service


async def run(
    name: str,
    plugin: IPlugin | type[IPlugin],
    *,
    address: str = DEFAULT_ADDRESS,
    token: str | None = None,
    tls: bool = False,
    tls_ca: str | Path | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    tls_name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    max_partitions: int | None = None,
    drain_timeout: float = DRAIN_TIMEOUT_S,
    metrics: str | None = None,
) -> None:
    """Serve the lambda ``name`` in the running event loop until cancelled; then drain and end.

    Signals, logging and the garbage collector are left to the caller. Of the environment, only
    ``KAFKA_SIDECAR_LAMBDA_VERSION`` is read.

    Args:
        plugin: an `IPlugin`, its class, or a function with ``@partition_lambda``.
        address: ``host:port`` or ``unix:///path``.
        token: the sidecar's ``server.token``, or that of an identity; None: it needs none.
        tls: encrypt, and trust the system's authorities. Each of the following encrypts too.
        tls_ca: PEM file of the authorities that may have signed the sidecar's certificate.
        tls_cert, tls_key: PEM files of this process's certificate and its key.
        tls_name: the name that has to be in the sidecar's certificate; None: the one in ``address``.
        settings: override those of the sidecar's config.
        max_partitions: how many partitions this process takes at the same time; None: as many as the sidecar gives.
        drain_timeout: seconds for handlers, ``close`` and ``dispose`` at the end.
        metrics: serve `/metrics`, `/healthz` and `/readyz` at this ``host:port``, or at this port of loopback; None:
            do not.

    Raises:
        RefusedError: the sidecar refused the first Offer.
        SettingsError: a file for TLS cannot be used, TLS with the sidecar cannot work, or ``metrics`` is no address
            where this process can listen.
        PluginError: the plugin does not fit the interfaces.
        SystemExit, KeyboardInterrupt: the lambda's code raised it, and everything is drained.
    """
    options = Options(
        max_partitions=max_partitions,
        drain_timeout=drain_timeout,
        assignments=[((key,), value) for key, value in (settings or {}).items()],
    )
    encrypted = tls or tls_name is not None
    files = Files(*(None if path is None else Path(path) for path in (tls_ca, tls_cert, tls_key)))
    endpoint = Endpoint(address, token, _tls(files, tls_name, None) if encrypted or any(files) else None)
    listen = None if metrics is None else parse_address(metrics)
    client = Client(name, as_plugin(plugin, "plugin"), endpoint, options)
    with Watchdog(name):
        async with _operating(client, listen):
            await client.run()
    if client.leaving is not None:
        raise client.leaving


def _operating(client: Client, listen: Address | None) -> AbstractAsyncContextManager[object]:
    """Return the HTTP server of this process; None: it has none."""
    if listen is None:
        return nullcontext()
    return OperateServer(listen, Operated(client.name, client.metrics, lambda: client.present))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    code, bound = _main(arguments)
    bound.disarm()  # the caller's process goes on
    return code


def _main(arguments: Sequence[str] | None) -> tuple[int, Bound]:
    """Run the command line; returns the exit code, and the `Bound` that makes the process end with it."""
    options = _parser().parse_args(arguments)
    stderr = StderrHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    stderr.setFormatter(JsonFormatter() if options.log_format == "json" else text)
    logging.basicConfig(level=options.log_level.upper(), handlers=[stderr])
    bound = Bound(options.name, options.drain_timeout, stderr)
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; a console script and `python -P` do not
    try:
        code = _served(options, bound)
    except (SettingsError, RefusedError, PluginError) as error:
        if error.__cause__ is not None and isinstance(error, PluginError):
            log.info("the plugin's own traceback", exc_info=error.__cause__)
        stderr.say(f"error: {error}")
        code = 2
    except EXITS as error:
        # Raised by the plugin's module while it was loaded, or by the lambda's code; then everything is drained.
        if isinstance(error, SystemExit) and isinstance(error.code, str):
            stderr.say(error.code)
        code = exit_code(error)
        stderr.say(f"{options.name}: ends with exit code {code}, since its code raised {type_of(error)}")
    except BaseException as error:  # noqa: BLE001, RUF100  a plugin may raise anything
        log.error("%s: the plugin could not be started: %s", options.name, message_of(error), exc_info=error)
        code = 1
    bound.code = code
    bound.begin()
    return code, bound


def _served(options: argparse.Namespace, bound: Bound) -> int:
    config = _config(options)
    plugin = load_plugin(_module(options, config))
    client_options = Options(
        max_partitions=options.max_partitions,
        drain_timeout=options.drain_timeout,
        environment=[*_document_lambda(config), *from_environment(os.environ)],
        assignments=[parse_assignment(text) for text in options.set],
        on_created=_tune,
    )
    listen = options.metrics or os.environ.get(METRICS_VARIABLE)
    address = parse_address(listen) if listen else None
    process = _Process(options.name, plugin, _endpoint(options, config), client_options, bound, address)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        process.run(runner.get_loop())
        bound.begin()
    if process.leaving is not None:
        raise process.leaving
    return bound.code


class _Process:
    """One client in an event loop of its own, with signal handlers."""

    def __init__(
        self,
        name: str,
        plugin: IPlugin,
        endpoint: Endpoint,
        options: Options,
        bound: Bound,
        listen: Address | None,
    ) -> None:
        self.leaving: BaseException | None = None
        """What the lambda's code raised to end this process."""
        self._name = name
        self._plugin = plugin
        self._endpoint = endpoint
        self._options = options
        self._bound = bound
        self._listen = listen
        self._client: Client | None = None

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve until a signal, or until the lambda's code asks for the end. Raises as `Client.run`."""
        children_end_by_signals()
        serving = loop.create_task(self._serve(loop))
        while not serving.done():
            try:
                loop.run_until_complete(serving)
            except EXITS as error:
                # Raised by a task or a timer of the lambda's own, it ended the loop, which is started again to drain.
                if serving.done():
                    raise
                log.warning("%s: %s: this process drains and ends", self._name, type_of(error), exc_info=error)
                self.leaving = self.leaving or error
                self._ending()
                if self._client is not None:
                    self._client.stop()
        serving.result()

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        client = self._client = Client(self._name, self._plugin, self._endpoint, self._options)
        client.on_stop = self._ending
        self._bound.left = lambda: client.left_now

        def on_signal(number: int, _: FrameType | None) -> None:
            # Not loop.add_signal_handler: that waits for the loop. A blocked loop would ignore the second signal too.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self._ending()
            loop.call_soon_threadsafe(client.stop)
            log.info("%s: drains after %s; a second signal ends at once", self._name, signal.Signals(number).name)

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with Watchdog(self._name):
                async with _operating(client, self._listen):
                    await client.run()
            self.leaving = self.leaving or client.leaving
            self._bound.code = 0 if self.leaving is None else exit_code(self.leaving)
            if client.late:
                self._bound.code = self._bound.code or 1
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ending(self) -> None:
        """Begin the end. If it is cut short before everything has ended in order, this is the exit code."""
        leaving = self.leaving or (self._client.leaving if self._client is not None else None)
        self._bound.code = 1 if leaving is None else exit_code(leaving)
        self._bound.begin()


def _tune() -> None:
    """Tune collector and allocator for frames of messages. Done only here, where the process is ours.

    Loaded modules stay, and messages hold no cycles: the cyclic collector costs 5 to 10 % of the whole path.
    """
    keep_freed_memory()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _config(options: argparse.Namespace) -> LambdaConfig | None:
    # With MODULE on the command line, a ./config.yaml that is there by chance is not read.
    path = find_config(options.config, os.environ if options.module is None else {})
    if path is None or (options.module is not None and options.config is None):
        return None
    return read_config(path, options.name)


def _module(options: argparse.Namespace, config: LambdaConfig | None) -> str:
    if options.module is not None:
        return str(options.module)
    if config is not None and config.plugin is not None:
        folder = str(config.path.resolve().parent)
        if folder != str(Path.cwd()) and folder not in sys.path:
            sys.path.insert(0, folder)  # modules too are looked up beside the config, then in the working directory
        return _plugin_file(config, config.plugin)
    how = f"give its module: python -m sdk_python.serve {options.name} MODULE"
    if config is None:
        raise SettingsError(
            f"no plugin named for {options.name!r}: {how}; or a config file with lambdas.{options.name}.plugin "
            f"(--config, ${CONFIG_VARIABLE}, or ./config.yaml, which is not in {Path.cwd()})"
        )
    raise SettingsError(f"{config.path} names no plugin for {options.name!r} (lambdas.{options.name}.plugin): {how}")


def _plugin_file(config: LambdaConfig, plugin: str) -> str:
    if not plugin.endswith(".py"):
        return plugin
    found = config.beside(plugin)
    if not Path(found).is_file():
        raise SettingsError(
            f"{config.path}: there is no file {plugin}, neither beside the config nor in {Path.cwd()}"
        )
    return found


def _document_lambda(config: LambdaConfig | None) -> list[Override]:
    """The document router's setting ``document_lambda``, from the environment or the config."""
    name = os.environ.get(DOCUMENT_LAMBDA_VARIABLE)
    if not name and config is not None and config.document_lambda is not None:
        name = _plugin_file(config, config.document_lambda)
    return [(("document_lambda",), name)] if name else []


def _endpoint(options: argparse.Namespace, config: LambdaConfig | None) -> Endpoint:
    """Return where to dial and how: from the options, else the environment, else the config file."""
    configured = config or LambdaConfig(Path())
    address = options.address or os.environ.get(ADDRESS_VARIABLE) or configured.address or DEFAULT_ADDRESS
    if not address.startswith("unix:") and not address.rpartition(":")[2].isdecimal():
        raise SettingsError(f"address {address!r}: expected host:port or unix:///path")

    def path(option: str | None, variable: str) -> Path | None:
        named = option or os.environ.get(variable)
        return Path(named) if named else None

    files = Files(
        path(options.tls_ca, CA_VARIABLE),
        path(options.tls_cert, CERTIFICATE_VARIABLE),
        path(options.tls_key, KEY_VARIABLE),
    )
    asked = options.tls or options.tls_name is not None or any(files)
    pinned = None if options.tls else configured.certificate
    return Endpoint(
        address=address,
        token=options.token or os.environ.get(TOKEN_VARIABLE) or configured.token,
        tls=_tls(files, options.tls_name, pinned) if asked or configured.tls else None,
    )


def _tls(files: Files, name: str | None, pinned: Path | None) -> Tls:
    try:
        return from_files(files, pinned, name)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _at_least(least: float, kind: type[int] | type[float]) -> Any:
    def parse(text: str) -> float:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    parse.__name__ = "number"  # argparse shows it in its error text
    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sdk_python.serve",
        description="Serve a lambda: take partitions from the sidecar, call the plugin's lambdas with messages.",
        epilog=f"Environment: {ENVIRONMENT_PREFIX}<key>=value overrides a setting, with __ for one level down; "
        f"{VERSION_VARIABLE} is the version of the lambda's code that operators see.",
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="the lambda's name in the sidecar's config")
    add("module", metavar="MODULE", nargs="?", help="the plugin: a module or a .py file; no config file is read then")
    add("--config", metavar="FILE", help=f"default: ${CONFIG_VARIABLE}, or ./config.yaml; only without MODULE")
    add("--address", help=f"of the sidecar; default: ${ADDRESS_VARIABLE}, server.listen, or {DEFAULT_ADDRESS}")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="override a setting; a.b=1 goes a level down")
    add("--token", help=f"default: ${TOKEN_VARIABLE}, which other users of the machine do not see")
    add("--tls", action="store_true", help="encrypt, and trust the system's authorities")
    trusted = "default, where the config's server.tls is set: that very certificate"
    ca = f"encrypt, and trust the authorities in this PEM file; default: ${CA_VARIABLE}; {trusted}"
    add("--tls-ca", "--ca", metavar="FILE", help=ca)
    add("--tls-cert", "--cert", metavar="FILE", help=f"PEM of this process's certificate; ${CERTIFICATE_VARIABLE}")
    add("--tls-key", "--key", metavar="FILE", help=f"PEM of its key; ${KEY_VARIABLE}")
    add("--tls-name", metavar="NAME", help="in the sidecar's certificate; default: the one that is dialled")
    add("--max-partitions", metavar="N", type=_at_least(1, int), help="at the same time in this process")
    add("--drain-timeout", metavar="SECONDS", type=_at_least(0, float), default=DRAIN_TIMEOUT_S, help="%(default)s")
    served = "serve /metrics, /healthz and /readyz here; a port alone is one of loopback"
    add("--metrics", metavar="HOST:PORT", help=f"{served}; default: ${METRICS_VARIABLE}, or do not")
    add("--log-format", choices=("text", "json"), default="text", help="%(default)s")
    add("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="%(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(_main(None)[0])  # Python joins the threads that are left; `Bound` limits how long
