"""The chart of deploy/: Helm accepts it, and makes of the examples what deploy/rendered has.

Helm is $HELM, or `helm` in the path, or is built once from its Go module into .cache/helm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import golden
from tests.unit.deploy.manifests import CHART, EXAMPLES, ROOT
from tests.unit.deploy.test_schemas import OLDEST

VERSION = "v3.22.0"
BUILT = ROOT / ".cache/helm"

pytestmark = pytest.mark.timeout(900)  # whichever test is first builds Helm


@pytest.fixture(scope="module")
def helm() -> Path:
    """The program."""
    found = os.environ.get("HELM") or shutil.which("helm") or shutil.which("helm", path=BUILT)
    if found is None:
        go = shutil.which("go")
        if go is None:
            pytest.skip("there is neither `helm` nor `go`")
        environment = {**os.environ, "GOBIN": str(BUILT)}
        subprocess.run(
            [go, "install", f"helm.sh/helm/v3/cmd/helm@{VERSION}"], env=environment, check=True, timeout=800
        )
        found = str(BUILT / "helm")
    return Path(found)


def template(helm: Path, example: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [str(helm), "template", "documents", str(CHART), "--namespace", "streams", "--kube-version", OLDEST]
    given = ["--values", str(ROOT / f"deploy/examples/{example}.yaml"), *more]
    return subprocess.run([*command, *given], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_rendered_files_are_what_helm_makes(helm: Path, example: str) -> None:
    done = template(helm, example)
    assert (done.returncode, done.stderr) == (0, "")
    golden.check(ROOT / f"deploy/rendered/{example}.yaml", done.stdout)


@pytest.mark.parametrize("example", EXAMPLES)
def test_helm_finds_nothing_to_complain_about(helm: Path, example: str) -> None:
    given = ["--values", str(ROOT / f"deploy/examples/{example}.yaml"), "--kube-version", OLDEST]
    command = [str(helm), "lint", "--strict", "--quiet", str(CHART), *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("server.tokenSecret=", "server.tokenSecret: mode deployment listens on the pod's network"),
        ("server.adminToken=false", "server.ownTokens: without server.adminToken nobody could operate the sidecar"),
        ("lambdas.deli.config.shutdown_drain=5s", "use shutdownDrainSeconds, which the grace period follows"),
        ("lambdas.deli.config.command=deli", "lambdas.deli.config.command: the chart sets this itself; use"),
        ("lambdas.deli.config.topic=null", "at '/lambdas/deli/config/topic': got null, want string"),
        ("lambdas.deli.scaling.by=cpu", "at '/lambdas/deli/scaling/by'"),
        ("replicas=3", "additional properties 'replicas' not allowed"),
    ],
)
def test_what_contradicts_the_chart_is_refused(helm: Path, wrong: str, expected: str) -> None:
    done = template(helm, "deployment", "--set", wrong)
    assert done.returncode != 0
    assert expected in done.stderr


def test_without_own_tokens_all_have_the_same(helm: Path) -> None:
    done = template(helm, "deployment", "--set", "server.ownTokens=false")
    assert done.returncode == 0
    assert done.stdout.count("{secretKeyRef: {name: documents-token, key: token}}") == 3, (
        "two lambdas and the sidecar"
    )
    assert "kafka-sidecar-tokens" not in done.stdout
    assert "identities" not in done.stdout
