"""Serve a lambda: ``python -m sdk_python.serve NAME [MODULE]``, or `run` from a program of your own.

Exit codes: 0 after SIGTERM or SIGINT and a drain, 1 when the plugin failed to start, 2 when something that was asked
for cannot be: an option, a config, a plugin, or an Offer that the sidecar refuses at the start.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from ._client import DRAIN_TIMEOUT, Client, Options
from ._config import CONFIG_VARIABLE, LambdaConfig, find_config, read_config
from ._connection import Endpoint
from ._errors import PluginError, RefusedError, SettingsError
from ._interfaces import IPlugin
from ._loading import VERSION_VARIABLE, as_plugin, load_plugin
from ._settings import ENVIRONMENT_PREFIX, Override, from_environment, parse_assignment
from ._watchdog import Watchdog

__all__ = ["run", "main"]

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
ADDRESS_VARIABLE: Final = "KAFKA_SIDECAR_ADDRESS"
TOKEN_VARIABLE: Final = "KAFKA_SIDECAR_TOKEN"  # noqa: S105  a name, no secret
DOCUMENT_LAMBDA_VARIABLE: Final = "documentLambda"  # as the seed's nconf spells it

log = logging.getLogger("kafka_sidecar.sdk")


async def run(
    name: str,
    plugin: IPlugin | type[IPlugin],
    *,
    address: str = DEFAULT_ADDRESS,
    token: str | None = None,
    settings: Mapping[str, Any] | None = None,
    max_partitions: int | None = None,
    drain_timeout: float = DRAIN_TIMEOUT,
) -> None:
    """Serve the lambda ``name`` in the running event loop, until cancelled: that drains, and then ends.

    Signals, logging and the garbage collector stay yours. ``settings`` override those of the sidecar's config; of
    the environment only ``KAFKA_SIDECAR_LAMBDA_VERSION`` is read.

    Args:
        plugin: an `IPlugin`, its class, or a function with ``@partition_lambda``.
        address: ``host:port`` or ``unix:///path``.
        max_partitions: at the same time in this process; None: as many as the sidecar gives.
        drain_timeout: seconds for handlers, ``close`` and ``dispose`` at the end.

    Raises:
        RefusedError: the sidecar refused the first Offer.
        PluginError: the plugin does not fit the interfaces.
    """
    options = Options(
        max_partitions=max_partitions,
        drain_timeout=drain_timeout,
        assignments=[((key,), value) for key, value in (settings or {}).items()],
    )
    client = Client(name, as_plugin(plugin, "plugin"), Endpoint(address, token), options)
    with Watchdog(name):
        await client.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; answers the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)-7s %(message)s", stream=sys.stderr
    )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, which a console script or `python -P` does not
    try:
        config = _config(options)
        plugin = load_plugin(_module(options, config))
        client_options = Options(
            max_partitions=options.max_partitions,
            drain_timeout=options.drain_timeout,
            environment=[*_document_lambda(config), *from_environment(os.environ)],
            assignments=[parse_assignment(text) for text in options.set],
            on_created=_spare_the_collector,
        )
        endpoint = _endpoint(options, config)
        asyncio.run(_serve(options.name, plugin, endpoint, client_options))
    except (SettingsError, RefusedError, PluginError) as error:
        if error.__cause__ is not None and isinstance(error, PluginError):
            log.info("the plugin's own traceback", exc_info=error.__cause__)
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        log.exception("%s: the plugin could not be started", options.name)
        return 1
    return 0


async def _serve(name: str, plugin: IPlugin, endpoint: Endpoint, options: Options) -> None:
    client = Client(name, plugin, endpoint, options)
    loop = asyncio.get_running_loop()

    def on_signal(number: int, _: FrameType | None) -> None:
        # Not loop.add_signal_handler: that waits for the loop, and a blocked one would take the second signal too.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        log.info("%s: drains after %s; a second signal ends at once", name, signal.Signals(number).name)
        loop.call_soon_threadsafe(client.stop)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Watchdog(name):
            await client.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _spare_the_collector() -> None:
    """Keep the cyclic collector off the hot path: what is loaded stays, and messages hold no cycles.

    Measured: 5 to 10 % of the whole path. Only here, where the process is ours.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _config(options: argparse.Namespace) -> LambdaConfig | None:
    # With MODULE on the command line a config file that lies around by chance changes nothing.
    path = find_config(options.config, os.environ if options.module is None else {})
    if path is None or (options.module is not None and options.config is None):
        return None
    return read_config(path, options.name)


def _module(options: argparse.Namespace, config: LambdaConfig | None) -> str:
    if options.module is not None:
        return str(options.module)
    if config is not None and config.plugin is not None:
        return config.plugin
    how = f"give its module: python -m sdk_python.serve {options.name} MODULE"
    if config is None:
        raise SettingsError(
            f"no plugin named for {options.name!r}: {how}; or a config file with lambdas.{options.name}.plugin "
            f"(--config, ${CONFIG_VARIABLE}, or ./config.yaml, which is not in {Path.cwd()})"
        )
    raise SettingsError(f"{config.path} names no plugin for {options.name!r} (lambdas.{options.name}.plugin): {how}")


def _document_lambda(config: LambdaConfig | None) -> list[Override]:
    """For the document router, which finds it in its settings."""
    name = os.environ.get(DOCUMENT_LAMBDA_VARIABLE) or (config.document_lambda if config is not None else None)
    return [(("document_lambda",), name)] if name else []


def _endpoint(options: argparse.Namespace, config: LambdaConfig | None) -> Endpoint:
    configured = config or LambdaConfig(Path())
    address = options.address or os.environ.get(ADDRESS_VARIABLE) or configured.address or DEFAULT_ADDRESS
    if not address.startswith("unix:") and not address.rpartition(":")[2].isdecimal():
        raise SettingsError(f"address {address!r}: expected host:port or unix:///path")
    if (options.tls_cert is None) != (options.tls_key is None):
        raise SettingsError("--tls-cert and --tls-key go together")
    return Endpoint(
        address=address,
        token=options.token or os.environ.get(TOKEN_VARIABLE) or configured.token,
        tls_ca=_pem("--tls-ca", options.tls_ca),
        tls_cert=_pem("--tls-cert", options.tls_cert),
        tls_key=_pem("--tls-key", options.tls_key),
    )


def _pem(option: str, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{option}: {error}") from error


def _at_least(least: float, kind: type[int] | type[float]) -> Any:
    def parse(text: str) -> float:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    parse.__name__ = "number"  # argparse names it in its message
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
    add("--tls-ca", metavar="FILE", help="PEM of the authorities that may have signed the sidecar's certificate")
    add("--tls-cert", metavar="FILE", help="PEM of this process's certificate")
    add("--tls-key", metavar="FILE", help="PEM of its key")
    add("--max-partitions", metavar="N", type=_at_least(1, int), help="at the same time in this process")
    add("--drain-timeout", metavar="SECONDS", type=_at_least(0, float), default=DRAIN_TIMEOUT, help="%(default)s")
    add("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="%(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
