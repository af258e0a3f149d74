"""The rendered manifests fit the schemas of Kubernetes and of the custom resources; the chart checks its values.

tools/deploy_schemas.py says where the schemas come from.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from sidecar.config import source
from tests.unit.deploy.manifests import CHART, EXAMPLES, ROOT, Manifest, of_kind, rendered, values

SCHEMAS = Path(__file__).parent / "schemas"
OLDEST, NEWEST = "v1.29.0", "v1.37.0"


@cache
def schema(kind: str, version: str) -> dict[str, Any]:
    """The schema of a kind: a custom resource's own, or the one of a version of Kubernetes."""
    own = SCHEMAS / f"{kind}.json"
    if own.is_file():
        made: dict[str, Any] = json.loads(own.read_text())
        return made
    document = json.loads((SCHEMAS / f"{version}.json").read_text())
    return {**document["kinds"][kind], "definitions": document["definitions"]}


def mistakes(manifest: Manifest, version: str = NEWEST) -> list[str]:
    """Where a manifest does not fit, and why."""
    found = jsonschema.Draft7Validator(schema(manifest["kind"], version)).iter_errors(manifest)
    return [f"{one.json_path}: {one.message}" for one in found]


def nothing_in(value: Any) -> bool:
    """Whether there is a null anywhere: a template that printed nothing."""
    if isinstance(value, dict):
        return any(map(nothing_in, value.values()))
    return any(map(nothing_in, value)) if isinstance(value, list) else value is None


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("example", EXAMPLES)
def test_manifests_fit_their_schemas(example: str, version: str) -> None:
    manifests = rendered(example)
    assert manifests
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        assert mistakes(manifest, version) == [], name
        assert not nothing_in(manifest), name


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_key_is_there_twice(example: str) -> None:
    """YAML takes the last of two, without a word."""
    documents = (ROOT / f"deploy/rendered/{example}.yaml").read_text().split("\n---\n")
    assert len(documents) == len(rendered(example))
    found = [mistake for one in documents for mistake in source.read(one, {}).mistakes]
    assert [str(one) for one in found if "twice" in one.message] == []


def test_each_kind_is_in_an_example() -> None:
    made = {manifest["kind"] for example in EXAMPLES for manifest in rendered(example)}
    assert made == {
        *("Deployment", "Service", "ConfigMap", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"),
        *("ServiceMonitor", "PrometheusRule", "ScaledObject"),
    }


def test_names_are_unique_and_short_enough() -> None:
    for example in EXAMPLES:
        names = [(one["kind"], one["metadata"]["name"]) for one in rendered(example)]
        assert len(names) == len(set(names))
        assert all(len(name) <= 63 for _, name in names)


@pytest.mark.parametrize(
    ("kind", "path", "wrong", "expected"),
    [
        ("Deployment", ("spec", "replicas"), "two", "$.spec.replicas: 'two' is not of type 'integer'"),
        ("Deployment", ("spec", "template", "spec", "terminationGracePeriod"), 5, "terminationGracePeriod"),
        ("NetworkPolicy", ("spec", "egres"), [], "egres"),
        ("PodDisruptionBudget", ("spec", "maxUnavailable"), [1], "maxUnavailable"),
        ("ScaledObject", ("spec", "maxReplicaCount"), "8", "$.spec.maxReplicaCount"),
        ("ScaledObject", ("spec", "trigger"), [], "trigger"),
        ("ServiceMonitor", ("spec", "endpoints"), [{"ports": 1}], "ports"),
        ("PrometheusRule", ("spec", "groups"), [{"rules": []}], "name"),
    ],
)
def test_the_schemas_find_mistakes(kind: str, path: tuple[str, ...], wrong: object, expected: str) -> None:
    manifest = deepcopy(of_kind("sidecar", kind)[0])
    inner = manifest
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = wrong
    assert any(expected in text for text in mistakes(manifest))


VALUES = json.loads((CHART / "values.schema.json").read_text())


def merged(given: Any, defaults: Any) -> Any:
    """Values over the chart's own, as Helm merges them before it looks at the schema."""
    if not isinstance(given, dict) or not isinstance(defaults, dict):
        return given
    return {**defaults, **{key: merged(value, defaults.get(key)) for key, value in given.items()}}


def wrong_values(given: dict[str, Any]) -> list[str]:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    found = jsonschema.Draft7Validator(VALUES).iter_errors(merged(given, defaults))
    return [one.json_path for one in found]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_values_are_right(example: str) -> None:
    assert wrong_values(values(example)) == []


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"mod": "sidecar"}, "$"),
        ({"mode": "daemonset"}, "$.mode"),
        ({"image": {"digest": "sha256:123"}}, "$.image.digest"),
        ({"shutdownDrainSeconds": "10s"}, "$.shutdownDrainSeconds"),
        ({"lambdas": {"Words": values("smallest")["lambdas"]["words"]}}, "$.lambdas"),
        ({"lambdas": {"sidecar": values("smallest")["lambdas"]["words"]}}, "$.lambdas"),
        ({"lambdas": {"words": {"config": {"topic": "t", "group": "g"}, "image": {"repository": "w"}}}}, "image"),
        ({"lambdas": {"words": {"config": {"topic": "t"}, "image": {"repository": "w", "tag": "1"}}}}, "config"),
        ({"networkPolicy": {"kafkaPorts": []}}, "$.networkPolicy.kafkaPorts"),
        ({"kafka": {}}, "$.kafka"),
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any], where: str) -> None:
    found = wrong_values({**values("smallest"), **wrong})
    assert any(where in path for path in found)


def test_each_value_is_in_the_schema_and_explained() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {*VALUES["properties"]} - {"global"} == {*defaults}
    page = (CHART.parents[2] / "docs/operate/kubernetes.md").read_text()
    assert [key for key in defaults if f"`{key}" not in page] == []
