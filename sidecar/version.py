"""The installed version, as the package's metadata has it."""

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("kafka-sidecar")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"


VERSION = _installed()
