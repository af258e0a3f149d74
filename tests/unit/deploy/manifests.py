"""The chart of deploy/ as it is rendered for its examples.

tests/packaging/test_chart.py proves that the rendered files are what Helm makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/kafka-sidecar"
EXAMPLES = sorted(path.stem for path in (ROOT / "deploy/examples").glob("*.yaml"))

Manifest = dict[str, Any]


def values(example: str) -> dict[str, Any]:
    """The values of an example."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / f"deploy/examples/{example}.yaml").read_text())
    return loaded


@cache
def rendered(example: str) -> list[Manifest]:
    """The objects that Helm makes of an example. Do not change them."""
    return [one for one in yaml.safe_load_all((ROOT / f"deploy/rendered/{example}.yaml").read_text()) if one]


def of_kind(example: str, *kinds: str) -> list[Manifest]:
    """The objects of these kinds."""
    return [one for one in rendered(example) if one["kind"] in kinds]


def pods(example: str) -> dict[str, Manifest]:
    """The pod template of each Deployment by the Deployment's name."""
    return {one["metadata"]["name"]: one["spec"]["template"] for one in of_kind(example, "Deployment")}


def containers(pod: Manifest) -> dict[str, Manifest]:
    """All containers of a pod by name; a sidecar container is an init container that keeps running."""
    spec = pod["spec"]
    return {one["name"]: one for one in (*spec.get("initContainers", ()), *spec["containers"])}


def sidecars() -> Iterator[tuple[str, Manifest, Manifest]]:
    """Each example, with each pod that has a sidecar in it, and the sidecar's container."""
    for example in EXAMPLES:
        for pod in pods(example).values():
            if "sidecar" in containers(pod):
                yield example, pod, containers(pod)["sidecar"]


def lambdas() -> Iterator[tuple[str, Manifest, Manifest]]:
    """The same of lambdas."""
    for example in EXAMPLES:
        for pod in pods(example).values():
            if "lambda" in containers(pod):
                yield example, pod, containers(pod)["lambda"]


def config_of(example: str, pod: Manifest) -> str:
    """The sidecar's config file in a pod."""
    (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "config"]
    name = volume["configMap"]["name"]
    (found,) = [one for one in of_kind(example, "ConfigMap") if one["metadata"]["name"] == name]
    text: str = found["data"]["config.yaml"]
    return text


def environment(container: Manifest) -> dict[str, str]:
    """A container's variables; one that comes from a Secret has a made-up value."""
    return {one["name"]: one.get("value", f"from-a-secret-{one['name']}") for one in container.get("env", ())}


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether `matchLabels`, or a Service's selector, chooses an object with these labels."""
    return selector.items() <= labels.items()
