"""Hypothesis' state machines: a short run that is always the same, or a long one of ``KAFKA_SIDECAR_MODEL_STEPS``."""

import os

from hypothesis import HealthCheck, settings

STEPS = int(os.environ.get("KAFKA_SIDECAR_MODEL_STEPS", "0"))
"""Steps of one example in a long run; 0: this is a short one."""


def settings_of(examples: int, all_steps: int) -> settings:
    """A short run has so many ``examples`` of 50 steps, a long one ``all_steps`` steps."""
    return settings(
        max_examples=-(-all_steps // STEPS) if STEPS else examples,
        stateful_step_count=STEPS or 50,
        derandomize=not STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )


def tell(steps: int) -> None:
    """Say how many steps a long run had."""
    if STEPS:
        print(f"\n{steps:,} steps")
