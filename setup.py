"""What kafka-sidecar needs, and where its SDK comes from. All else about the distribution is in pyproject.toml.

The SDK is a distribution of its own, and neither is on a package index. In a clone the requirement names the folder
`sdk_python` by its absolute path: `pip install .` finds the SDK there and asks no index for it. pyproject.toml cannot
say that, since pip knows no relative path. An sdist does not have the folder: what is built from it asks for the SDK
by name and version. So a wheel for others is built from the sdist, as `python -m build` does it.
"""

import sys
from pathlib import Path

from setuptools import setup

SDK = Path(__file__).resolve().parent / "sdk_python"


def sdk() -> str:
    """The requirement of the SDK, of the same version."""
    if (SDK / "pyproject.toml").is_file() and "sdist" not in sys.argv:
        return f"kafka-sidecar-sdk @ {SDK.as_uri()}"
    return f"kafka-sidecar-sdk=={(SDK / 'VERSION').read_text().strip()}"


setup(
    # grpcio and protobuf come with the SDK, which knows their oldest versions. uvicorn and starlette serve the HTTP
    # endpoint. No upper bounds: they would keep security fixes from users. What a newer librdkafka might break is
    # tried at the start (proof.py).
    install_requires=[
        sdk(),
        "click>=8.1",
        "confluent-kafka>=2.16",
        "grpcio-health-checking>=1.85",
        "grpcio-reflection>=1.85",
        "prometheus-client>=0.22",
        "pydantic>=2.11",
        "PyYAML>=6.0",
        "rich>=14.0",
        "starlette>=1.0",
        "structlog>=25.1",
        "uvicorn>=0.40",
    ],
)
