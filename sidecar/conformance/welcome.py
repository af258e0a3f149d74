"""The Welcome of a case. Pure."""

from __future__ import annotations

import json
from typing import Final

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import Case
from sidecar.server import frames, lambda_host
from sidecar.server.limits import limits

CAPABILITIES: Final = frames.CAPABILITIES
"""What a sidecar of today accepts."""


def welcome_of(case: Case) -> pb.Welcome:
    """What the streams of this case are welcomed with, besides their capabilities."""
    told = limits(lambda_host.MAX_SPARES, lambda_host.MAX_WITHOUT_PARTITION)
    for name, value in case.limits.items():
        setattr(told, name, value)
    return pb.Welcome(
        settings_json=json.dumps(dict(case.settings)),
        protocol_version=1,
        window_messages=case.window,
        window_bytes=16 * 1024 * 1024,
        max_frame_bytes=256 * 1024,
        sidecar_version="conformance",
        window_span=100_000,
        limits=told,
        guarantee=pb.GUARANTEE_EXACTLY_ONCE if case.exactly_once else pb.GUARANTEE_AT_LEAST_ONCE,
        max_state_bytes=case.max_state,
    )
