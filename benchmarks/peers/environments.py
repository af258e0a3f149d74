"""Each peer's own pinned environment, created once in `.cache/peers`: a venv, node_modules, a Go binary, or
Java classes."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.processes import ROOT
from tests.servers import kafka

HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "peers"
_LAST = 1500


class NotToBeHadError(RuntimeError):
    """The environment could not be created; the text says why."""


def python(name: str) -> Path:
    """The interpreter of the venv with the pins of `NAME/requirements.txt`."""
    folder = CACHE / name
    interpreter = folder / "bin" / "python"
    pins = HERE / name / "requirements.txt"
    if _is_made(folder, pins):
        return interpreter
    _say(f"{name}: installing {pins.relative_to(ROOT)}")
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(interpreter), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "-r", str(pins)])
    _made(folder, pins)
    return interpreter


def node(name: str) -> Path:
    """The folder node_modules with the pins of `NAME/package-lock.json`; native parts are compiled if needed."""
    if shutil.which("npm") is None:
        raise NotToBeHadError("no `npm` on the PATH")
    folder = CACHE / name
    lock = HERE / name / "package-lock.json"
    if not _is_made(folder, lock):
        _say(f"{name}: npm ci with {lock.relative_to(ROOT)}; what has native parts takes minutes")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name / file, folder)
        _run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, more=_for_npm())
        _made(folder, lock)
    return folder / "node_modules"


def dapr() -> Path:
    """The binary of daprd."""
    # Modules of that age use internal names of the runtime, which newer linkers refuse by default.
    flags = ["-tags", "stablecomponents", "-ldflags", "-s -w -checklinkname=0"]
    return go("dapr", "daprd", flags, "takes ten minutes or more")


def go(name: str, binary: str, flags: Sequence[str] = (), duration: str = "takes a minute") -> Path:
    """The binary that `NAME/go.mod` and `NAME/main.go` build."""
    if shutil.which("go") is None:
        raise NotToBeHadError("no `go` on the PATH")
    folder = CACHE / f"{name}-go"  # beside the venv of that name
    made = folder / binary
    pins = HERE / name / "go.sum"
    if not _is_made(folder, pins, HERE / name / "main.go"):
        _say(f"{name}: go build with {pins.relative_to(ROOT)}; {duration}")
        folder.mkdir(parents=True, exist_ok=True)
        _run(["go", "build", *flags, "-o", str(made), "."], cwd=HERE / name)
        _made(folder, pins, HERE / name / "main.go")
    return made


def java(name: str) -> Path:
    """The folder with the classes of `NAME/*.java`, and a folder `jars` with what they are compiled against: the
    pins of `NAME/pom.xml`, or without one the jars of the tests' Kafka."""
    pom = HERE / name / "pom.xml"
    for program in ("javac", "mvn") if pom.exists() else ("javac",):
        if shutil.which(program) is None:
            raise NotToBeHadError(f"no `{program}` on the PATH")
    folder = CACHE / f"{name}-java"
    files = [HERE / "Tally.java", *sorted((HERE / name).glob("*.java"))]
    sources = [*files, pom] if pom.exists() else files
    if not _is_made(folder, *sources):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        jars = folder / "jars"
        if pom.exists():
            _say(f"{name}: mvn with {pom.relative_to(ROOT)}")
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
            _run(["mvn", "-q", "-B", "-f", str(pom), *goal])
        else:
            jars.symlink_to(kafka.resolve())
        _run(["javac", "-cp", f"{jars}/*", "-d", str(folder), *map(str, files)])
        _made(folder, *sources)
    return folder


def version(name: str, package: str) -> str:
    """The version of the package in the pins of `NAME`."""
    folder = HERE / name
    for file, pattern in (
        ("requirements.txt", rf"^{re.escape(package)}==(\S+)"),
        ("package.json", rf'"{re.escape(package)}": "([^"]+)"'),
        ("go.mod", rf"{re.escape(package)} v(\S+)"),
        ("pom.xml", rf"<artifactId>{re.escape(package)}</artifactId>\s*<version>([^<]+)"),
    ):
        pins = folder / file
        found = re.search(pattern, pins.read_text(), re.MULTILINE) if pins.exists() else None
        if found is not None:
            return found[1]
    raise RuntimeError(f"{folder} pins no {package}")


def _for_npm() -> Mapping[str, str]:
    """The environment for node-gyp: this interpreter, the headers of the running node, and the system's libraries.
    And nothing reports the installation to anybody."""
    more = {"PYTHON": sys.executable, "CKJS_LINKING": "dynamic", "SCARF_ANALYTICS": "false"}
    program = shutil.which("node")
    if program is not None:
        prefix = Path(program).resolve().parent.parent
        if (prefix / "include" / "node" / "node.h").exists():
            more["npm_config_nodedir"] = str(prefix)
    return more


def _is_made(folder: Path, *sources: Path) -> bool:
    stamp = folder / "made"
    return stamp.exists() and stamp.read_text() == _digest(sources)


def _made(folder: Path, *sources: Path) -> None:
    (folder / "made").write_text(_digest(sources))


def _digest(sources: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _run(command: list[str], cwd: Path | None = None, more: Mapping[str, str] | None = None) -> None:
    environment = {**os.environ, **(more or {})}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-_LAST:]
        raise NotToBeHadError(f"`{' '.join(command[:3])} ...` failed: {said}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text} ...\n")
    sys.stderr.flush()
