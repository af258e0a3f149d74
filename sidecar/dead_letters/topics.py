"""Which topics have dead letters: those that the config names, and those whose name says so. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from sidecar.config import Config, LambdaConfig
from sidecar.config.lambdas import dead_letter_suffix, is_pattern


def dead_letter_topics(config: Config, existing: Collection[str], only: str | None = None) -> list[str]:
    """The dead-letter topics of all lambdas of the config, or of the lambda ``only``, among the ``existing`` ones.

    `on_critical` does not matter: a lambda that now halts may still have the letters of an earlier policy.
    """
    lambdas: Mapping[str, LambdaConfig] = config.lambdas if only is None else {only: config.lambdas[only]}
    return sorted(topic for topic in existing if any(_belongs(topic, name, one) for name, one in lambdas.items()))


def consumers(config: Config, topic: str) -> list[str]:
    """The lambdas of the config that consume a topic."""
    return [name for name, one in config.lambdas.items() if _consumes(one, topic)]


def _belongs(topic: str, name: str, one: LambdaConfig) -> bool:
    if topic == one.dead_letter_topic:
        return True
    suffix = dead_letter_suffix(name)
    return topic.endswith(suffix) and _consumes(one, topic.removesuffix(suffix))


def _consumes(one: LambdaConfig, topic: str) -> bool:
    return any(re.match(entry, topic) if is_pattern(entry) else entry == topic for entry in one.topics)
