"""The version in the installed package's metadata."""

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("kafka-sidecar")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"


VERSION = _installed()
