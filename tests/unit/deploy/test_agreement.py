"""The manifests agree with the code: flags, variables, ports, paths, times and metrics are read from there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from starlette.routing import Route

from sdk_python import _config, _loading, _settings, serve
from sdk_python._client import DRAIN_TIMEOUT_S
from sidecar import app, logs
from sidecar.cli import main
from sidecar.commands.operator import COMMANDS
from sidecar.config import Config, load, parse_endpoint
from sidecar.operate import http
from sidecar.operate.declared import EVERY
from tests.dockerfile import image
from tests.unit.deploy.manifests import (
    CHART,
    EXAMPLES,
    ROOT,
    Manifest,
    config_of,
    containers,
    environment,
    lambdas,
    of_kind,
    pods,
    rendered,
    selects,
    sidecars,
    values,
)
from tests.unit.deploy.test_schemas import wrong_values

LABELS = {"lambda", "topic", "partition", *(label for metric in EVERY for label in metric.labels)}


def read_config(example: str, pod: Manifest, folder: Path) -> Config:
    """The pod's config as the sidecar reads it there; its files are here instead of in the pod."""
    text = re.sub("/etc/kafka-sidecar-t(ls|okens)", str(folder), config_of(example, pod))
    for name in ("tls.crt", "tls.key", *values(example)["lambdas"]):
        (folder / name).write_text("")
    path = folder / "config.yaml"
    path.write_text(text)
    return load(path, environment(containers(pod)["sidecar"]))


def metrics() -> set[str]:
    """The names of all series."""
    ends = {"histogram": ("_bucket", "_sum", "_count")}
    return {f"{metric.full_name}{end}" for metric in EVERY for end in ends.get(metric.kind, ("",))}


def queries() -> list[str]:
    """All PromQL of the chart."""
    found = [one["metric"] for one in yaml.safe_load((CHART / "alerts.yaml").read_text())]
    for example in EXAMPLES:
        found += [one["spec"]["triggers"][0]["metadata"]["query"] for one in of_kind(example, "ScaledObject")]
        for rules in of_kind(example, "PrometheusRule"):
            found += [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    return found


def test_the_chart_has_the_projects_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == (ROOT / "sdk_python/VERSION").read_text().strip()


def test_the_sidecar_accepts_its_config(tmp_path: Path) -> None:
    for example, pod, _ in sidecars():
        config = read_config(example, pod, tmp_path)
        assert config.warnings == ()
        drain = values(example).get("shutdownDrainSeconds", 10)
        assert {one.shutdown_drain for one in config.lambdas.values()} == {drain}


def test_each_lambda_is_in_the_config_of_one_sidecar(tmp_path: Path) -> None:
    for example in EXAMPLES:
        held = [
            name for one, pod, _ in sidecars() if one == example for name in read_config(one, pod, tmp_path).lambdas
        ]
        assert sorted(held) == sorted(values(example)["lambdas"])


def test_the_command_line_is_understood() -> None:
    for _, _, container in sidecars():
        program, *arguments = container["args"]
        assert [program] == yaml.safe_load(image("sidecar")[-1].text)  # CMD
        context = main.make_context(program, list(arguments))
        assert context.params["log_format"] in logs.FORMATS
        assert context.params["log_level"] in logs.LEVELS


def test_each_variable_of_ours_is_read_by_the_code() -> None:
    options = [*main.params, *(option for command in COMMANDS for option in command.params)]
    named = [option.envvar for option in options if option.envvar]
    known_to_the_program = {name for one in named for name in ([one] if isinstance(one, str) else one)}
    known_to_lambdas = {
        *(_config.ADDRESS_VARIABLE, _config.TOKEN_VARIABLE, serve.CA_VARIABLE),
        *(serve.CERTIFICATE_VARIABLE, serve.KEY_VARIABLE, _loading.VERSION_VARIABLE),
    }
    for example, pod, container in sidecars():
        ours = {name for name in environment(container) if name.startswith("KAFKA_SIDECAR_")}
        assert "KAFKA_SIDECAR_CONFIG" in ours
        assert ours <= known_to_the_program
        admin = "KAFKA_SIDECAR_ADMIN_TOKEN"  # the commands read it; the sidecar itself has it from its config
        assert (f"${{{admin}}}" in config_of(example, pod)) == (admin in ours)
    for _, _, container in lambdas():
        ours = {name for name in environment(container) if name.startswith("KAFKA_SIDECAR_")}
        assert {name for name in ours if not name.startswith(_settings.ENVIRONMENT_PREFIX)} <= known_to_lambdas


def test_lambdas_dial_where_the_sidecar_listens(tmp_path: Path) -> None:
    for example, pod, container in lambdas():
        address = parse_endpoint(environment(container)[_config.ADDRESS_VARIABLE])
        if "sidecar" in containers(pod):
            server = read_config(example, pod, tmp_path).server
            assert str(address) == server.listen
            folders = [
                {mount["mountPath"] for mount in one["volumeMounts"] if mount["name"] == "socket"}
                for one in containers(pod).values()
            ]
            assert folders == [{str(Path(address.path).parent)}] * 2
            continue
        (service,) = [one for one in of_kind(example, "Service") if one["metadata"]["name"] == address.host]
        (port,) = service["spec"]["ports"]
        assert port["port"] == address.port
        assert service["spec"]["publishNotReadyAddresses"] is True


def test_lambdas_show_the_token_that_the_sidecar_has_for_them(tmp_path: Path) -> None:
    for example, pod, container in sidecars():
        if "sidecar" not in containers(pod) or "lambda" in containers(pod):
            continue
        server = read_config(example, pod, tmp_path).server
        (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "tokens"]
        mounted = {one["key"]: one["path"] for one in volume["secret"]["items"]}
        folder = next(one["mountPath"] for one in container["volumeMounts"] if one["name"] == "tokens")
        assert f"token_file: {folder}/" in config_of(example, pod)
        shown = {}
        for other, pod_of_lambda, lambda_ in lambdas():
            if other == example:
                name = pod_of_lambda["metadata"]["labels"]["app.kubernetes.io/component"]
                (token,) = [one for one in lambda_["env"] if one["name"] == _config.TOKEN_VARIABLE]
                shown[name] = token["valueFrom"]["secretKeyRef"]
        assert {one["name"] for one in shown.values()} == {volume["secret"]["secretName"]}
        for one in server.identities:
            assert one.token_file is not None
            assert one.lambdas == (one.name,)
            assert mounted[shown[one.name]["key"]] == one.token_file.name
        assert len(server.identities) == len(shown)


def test_ports_are_those_of_the_config(tmp_path: Path) -> None:
    for example, pod, container in sidecars():
        config = read_config(example, pod, tmp_path)
        assert config.operate is not None
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        expected = {"operate": config.operate.endpoint.port}
        if not config.server.endpoint.path:
            expected["grpc"] = config.server.endpoint.port
            assert config.server.identities or config.server.token is not None
        assert ports == expected


def test_probes_ask_for_pages_that_need_no_token_and_wait_for_their_answers() -> None:
    server = http.OperateServer(parse_endpoint("127.0.0.1:0"), lambda: pytest.fail("nobody asks"))
    pages = {route.path for route in server._app().routes if isinstance(route, Route)}
    for _, _, container in sidecars():
        probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
        assert {kind: one["httpGet"]["path"] for kind, one in probes.items()} == {
            "startup": "/healthz",
            "liveness": "/healthz",
            "readiness": "/readyz",
        }
        for probe in probes.values():
            assert probe["httpGet"]["path"] in pages
            assert probe["httpGet"]["port"] == "operate"
            assert probe["timeoutSeconds"] > http.ASK_TIMEOUT_S
    for example in EXAMPLES:
        for monitor in of_kind(example, "ServiceMonitor"):
            assert {one["path"] for one in monitor["spec"]["endpoints"]} <= pages


def test_grace_periods_are_longer_than_the_drains(tmp_path: Path) -> None:
    """An end of the sidecar: the drain, leaving the group, what lambdas produced, the last calls, the HTTP server."""
    for example, pod, container in sidecars():
        config = read_config(example, pod, tmp_path)
        drain = max(one.shutdown_drain for one in config.lambdas.values())
        needed = drain + app.LEAVE_TIMEOUT_S + app.WRITE_TIMEOUT_S + app.STOP_GRACE_S + http.STOP_GRACE_S
        if container.get("restartPolicy") == "Always":  # it is told to end when the lambda has ended
            needed += drain_of_lambda(example, pod)
        assert pod["spec"]["terminationGracePeriodSeconds"] > needed
        assert "lifecycle" not in container
    for example, pod, _ in lambdas():
        assert pod["spec"]["terminationGracePeriodSeconds"] > drain_of_lambda(example, pod)


def test_the_page_adds_the_grace_period_up_as_the_chart_does() -> None:
    page = (ROOT / "docs/operate/kubernetes.md").read_text()
    parts = [int(seconds) for seconds in re.findall(r"^\| .* \| (\d+) \|$", page, flags=re.MULTILINE)]
    (pod,) = pods("smallest").values()
    assert sum(parts) == pod["spec"]["terminationGracePeriodSeconds"]
    assert len(parts) == 3


def test_the_pages_values_are_accepted() -> None:
    """Each block of values, alone or over the smallest."""
    page = (ROOT / "docs/operate/kubernetes.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)]
    assert len(blocks) == 2
    for block in blocks:
        assert wrong_values({**values("smallest"), **block}) == []


def drain_of_lambda(example: str, pod: Manifest) -> float:
    """How long the lambda process in a pod may take to end; by default what the SDK takes."""
    name = pod["metadata"]["labels"]["app.kubernetes.io/component"]
    seconds: float = values(example)["lambdas"][name].get("drainSeconds", DRAIN_TIMEOUT_S)
    return seconds


def test_a_sidecar_starts_before_its_lambda_and_ends_after_it() -> None:
    for example, pod, container in sidecars():
        beside = "lambda" in containers(pod)
        assert beside == (values(example).get("mode", "sidecar") == "sidecar")
        assert (container in pod["spec"].get("initContainers", [])) == beside
        assert container.get("restartPolicy") == ("Always" if beside else None)


def test_queries_name_series_and_labels_that_exist() -> None:
    assert len(queries()) >= 8
    for query in queries():
        names = re.findall(r"kafka_sidecar_\w+", query)
        assert names
        assert {*names} <= metrics(), query
        assert {*re.findall(r"(\w+)=", query)} <= LABELS | {"namespace"}
        assert query.count("(") == query.count(")")


def test_alerts_speak_of_labels_that_exist() -> None:
    for alert in yaml.safe_load((CHART / "alerts.yaml").read_text()):
        assert {*re.findall(r"\$labels\.(\w+)", alert["summary"])} <= LABELS
        assert alert["remedy"].endswith(("?", "."))


def test_what_names_or_selects_pods_finds_them() -> None:
    for example in EXAMPLES:
        templates = [one["metadata"]["labels"] for one in pods(example).values()]
        for one in rendered(example):
            spec = one.get("spec", {})
            selector = {
                "Service": lambda s: s["selector"],
                "PodDisruptionBudget": lambda s: s["selector"]["matchLabels"],
                "NetworkPolicy": lambda s: s["podSelector"]["matchLabels"],
            }.get(one["kind"])
            if selector is not None:
                assert any(selects(selector(spec), labels) for labels in templates), one["metadata"]["name"]
        protected = [one["spec"]["podSelector"]["matchLabels"] for one in of_kind(example, "NetworkPolicy")]
        assert all(any(selects(selector, labels) for selector in protected) for labels in templates)
        services = [one["metadata"]["labels"] for one in of_kind(example, "Service")]
        for monitor in of_kind(example, "ServiceMonitor"):
            matching = [one for one in services if selects(monitor["spec"]["selector"]["matchLabels"], one)]
            assert len(matching) == 1


def test_scaled_deployments_leave_their_number_to_keda() -> None:
    for example in EXAMPLES:
        deployments = {one["metadata"]["name"]: one for one in of_kind(example, "Deployment")}
        scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(example, "ScaledObject")}
        assert scaled <= {*deployments}
        for name, one in deployments.items():
            assert ("replicas" in one["spec"]) == (name not in scaled)


def test_ports_that_others_name_exist() -> None:
    for example in EXAMPLES:
        for service in of_kind(example, "Service"):
            chosen = [pod for pod in pods(example).values() if selects(service["spec"]["selector"], _labels(pod))]
            for port in service["spec"]["ports"]:
                assert all(port["targetPort"] in _ports(pod) for pod in chosen)
        for policy in of_kind(example, "NetworkPolicy"):
            selector = policy["spec"]["podSelector"]["matchLabels"]
            (pod,) = [pod for pod in pods(example).values() if selects(selector, _labels(pod))]
            named = {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}
            assert named == _ports(pod)


def _labels(pod: Manifest) -> dict[str, str]:
    labels: dict[str, str] = pod["metadata"]["labels"]
    return labels


def _ports(pod: Manifest) -> set[str]:
    return {port["name"] for one in containers(pod).values() for port in one.get("ports", ())}


def test_mounts_and_volumes_belong_together() -> None:
    for example in EXAMPLES:
        for pod in pods(example).values():
            mounted = {mount["name"] for one in containers(pod).values() for mount in one["volumeMounts"]}
            assert mounted == {one["name"] for one in pod["spec"]["volumes"]}


def test_nothing_runs_with_more_rights_than_it_needs() -> None:
    (user,) = [one.text for one in image("sidecar") if one.name == "USER"]
    for example in EXAMPLES:
        for pod in pods(example).values():
            spec = pod["spec"]
            assert spec["automountServiceAccountToken"] is False
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert user == "{runAsUser}:{runAsGroup}".format(**spec["securityContext"])
            assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
            for one in containers(pod).values():
                assert one["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert re.search(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[\w.-]+$", one["image"])


def test_secrets_are_referred_to_and_never_written() -> None:
    for example in EXAMPLES:
        text = (ROOT / f"deploy/rendered/{example}.yaml").read_text()
        assert not re.search(r"(?i)(password|token): (?!\$\{)[\w-]{8,}$", text, re.MULTILINE)
        for _, _, container in (*sidecars(), *lambdas()):
            for one in container["env"]:
                assert not re.search("TOKEN|PASSWORD", one["name"]) or "valueFrom" in one
