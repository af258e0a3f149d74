"""TLS of the operator's commands: trusted certificates, client certificates, and error messages."""

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from sdk_python import _tls as operate_tls
from sdk_python.protocol import admin_pb2 as pb

from .operator_lab import TARGET, Admin, Invoke, Serve


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def authority(directory: Path, name: str) -> None:
    files = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")
    openssl(directory, "req", "-x509", *_KEY, *files)


def signed(directory: Path, name: str, by: str, names: str) -> None:
    openssl(directory, "req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/O=we/CN={name}.cn")
    extensions = "basicConstraints=critical,CA:FALSE\n" + (f"subjectAltName={names}\n" if names else "")
    (directory / f"{name}.ext").write_text(extensions)
    openssl(
        directory,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial"),
        *("-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext"),
    )
    # As servers have it: followed by its chain.
    (directory / f"{name}.chain.pem").write_bytes(
        (directory / f"{name}.pem").read_bytes() + (directory / f"{by}.pem").read_bytes()
    )


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority, its certificates, and another authority."""
    directory = tmp_path_factory.mktemp("pem")
    for name in ("ca", "stranger"):
        authority(directory, name)
    signed(directory, "local", "ca", "IP:127.0.0.1")
    signed(directory, "named", "ca", "email:a@b,DNS:sidecar.example")
    signed(directory, "wild", "ca", "DNS:*.example")
    signed(directory, "numbered", "ca", "IP:10.0.0.1")
    signed(directory, "bare", "ca", "")
    signed(directory, "operator", "ca", "DNS:operator")
    (directory / "nonsense.pem").write_text("nonsense")
    return directory


def server_credentials(pem: Path, name: str, *, mutual: bool = False) -> grpc.ServerCredentials:
    pair = ((pem / f"{name}.key").read_bytes(), (pem / f"{name}.chain.pem").read_bytes())
    if not mutual:
        return grpc.ssl_server_credentials([pair])
    return grpc.ssl_server_credentials([pair], (pem / "ca.pem").read_bytes(), require_client_auth=True)


def config_for(admin: Admin, certificate: Path) -> None:
    Path("config.yaml").write_text(f"server: {{listen: '{admin.address}', tls: {{certificate: {certificate}}}}}")


@pytest.fixture
def encrypted(serve: Serve, pem: Path) -> Admin:
    """A sidecar with a certificate for its address."""
    admin = serve(server_credentials(pem, "local"))
    admin.answer = pb.StatusResponse(version="1.2.3")
    return admin


def test_tls_with_an_authority(invoke: Invoke, encrypted: Admin, pem: Path) -> None:
    ca = str(pem / "ca.pem")
    for options in (["--tls-ca", ca], ["--ca", ca], ["--tls", "--tls-ca", ca]):
        result = invoke("status", "--address", encrypted.address, *options)
        assert result.exit_code == 0, result.output
        assert result.output.startswith("kafka-sidecar 1.2.3")
    assert invoke("status", "--address", encrypted.address, KAFKA_SIDECAR_CA=ca).exit_code == 0


def test_every_command_speaks_tls(invoke: Invoke, encrypted: Admin, pem: Path) -> None:
    options = ("--address", encrypted.address, "--tls-ca", str(pem / "ca.pem"))
    encrypted.answer = pb.SeekResponse()
    assert invoke("seek", TARGET, "--to", "latest", *options).exit_code == 0
    encrypted.answer = pb.PauseResponse()
    assert invoke("pause", TARGET, *options).exit_code == 0
    encrypted.answer = pb.ResumeResponse()
    assert invoke("resume", TARGET, *options).exit_code == 0


@pytest.mark.parametrize("name", ["local", "named", "wild", "numbered", "bare"])
def test_the_certificate_of_the_config_is_enough(invoke: Invoke, serve: Serve, pem: Path, name: str) -> None:
    admin = serve(server_credentials(pem, name))
    admin.answer = pb.StatusResponse()
    config_for(admin, pem / f"{name}.chain.pem")
    result = invoke("status")
    assert result.exit_code == 0, result.output


def test_only_the_certificate_of_the_config_is_trusted(invoke: Invoke, encrypted: Admin, pem: Path) -> None:
    """Another certificate of the same authority is not trusted either."""
    config_for(encrypted, pem / "named.chain.pem")
    result = invoke("status")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: no TLS with {encrypted.address}: the certificate is not trusted; ")
    assert "named.chain.pem (was it renewed since the sidecar started?)" in result.stderr
    assert encrypted.asked == []


def test_an_authority_comes_before_the_certificate_of_the_config(invoke: Invoke, encrypted: Admin, pem: Path) -> None:
    config_for(encrypted, pem / "there is none")
    assert invoke("status", "--tls-ca", str(pem / "ca.pem")).exit_code == 0
    result = invoke("status")
    assert result.exit_code == 2
    assert "there is none cannot be read: No such file or directory; --tls-ca names" in " ".join(
        result.stderr.split()
    )
    config_for(encrypted, pem / "local.pem")
    result = invoke("status", "--tls")
    assert result.exit_code == 1
    assert "trusted is the system's authorities" in result.stderr


def test_mutual_tls(invoke: Invoke, serve: Serve, pem: Path) -> None:
    admin = serve(server_credentials(pem, "local", mutual=True))
    admin.answer = pb.StatusResponse()
    config_for(admin, pem / "local.pem")
    mine = {"KAFKA_SIDECAR_CERT": str(pem / "operator.pem"), "KAFKA_SIDECAR_KEY": str(pem / "operator.key")}
    assert invoke("status", **mine).exit_code == 0
    shown = ("--tls-cert", mine["KAFKA_SIDECAR_CERT"], "--key", mine["KAFKA_SIDECAR_KEY"])
    assert invoke("status", "--address", admin.address, "--ca", str(pem / "ca.pem"), *shown).exit_code == 0
    result = invoke("status")
    assert result.exit_code == 1
    assert (
        f"no TLS with {admin.address}: it closed the connection; where server.tls.client_ca is set" in result.stderr
    )
    stranger = ("--cert", str(pem / "stranger.pem"), "--key", str(pem / "stranger.key"))
    result = invoke("status", *stranger)
    assert result.exit_code == 1
    assert "the handshake failed; compare --tls-ca, --tls-cert and --tls-key with server.tls" in result.stderr


def test_mismatches_are_reported_with_the_remedy(
    invoke: Invoke, serve: Serve, encrypted: Admin, admin: Admin, pem: Path
) -> None:
    def said(address: str, *options: str) -> str:
        result = invoke("status", "--address", address, *options)
        assert result.exit_code == 1
        return result.stderr

    ca = ("--tls-ca", str(pem / "ca.pem"))
    assert "closed the connection before it answered; if its server.tls is set, give --tls-ca" in said(
        encrypted.address
    )
    assert "the other side does not speak TLS; leave out --tls" in said(admin.address, *ca)
    stranger = said(encrypted.address, "--tls-ca", str(pem / "stranger.pem"))
    assert f"the certificate is not trusted; trusted is {pem}/stranger.pem; --tls-ca FILE names" in stranger
    named = serve(server_credentials(pem, "named"))
    assert "the certificate is for another name; dial a name that is in it: --address" in said(named.address, *ca)
    assert "no sidecar answers at 127.0.0.1:1 (" in said("127.0.0.1:1", *ca)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--tls-cert", "operator.pem"], "go together: give both --tls-cert and --tls-key"),
        (["--tls-key", "operator.key"], "go together: give both --tls-cert and --tls-key"),
        (
            ["--tls-cert", "operator.pem", "--tls-key", "local.key"],
            "operator.pem and local.key cannot be used: KEY_V",
        ),
        (["--tls-cert", "nonsense.pem", "--tls-key", "local.key"], "nonsense.pem and local.key cannot be used: "),
        (["--tls-ca", "nonsense.pem"], "nonsense.pem has no usable certificate; it must be PEM"),
        (["--tls-ca", "none.pem"], "File 'none.pem' does not exist"),
    ],
)
def test_files_that_cannot_be_used(invoke: Invoke, pem: Path, options: list[str], expected: str) -> None:
    shutil.copytree(pem, ".", dirs_exist_ok=True)
    result = invoke("status", "--address", "127.0.0.1:1", *options)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.split())


def test_a_certificate_of_the_config_that_is_none(invoke: Invoke, encrypted: Admin, pem: Path) -> None:
    config_for(encrypted, pem / "nonsense.pem")
    result = invoke("status")
    assert result.exit_code == 2
    assert "server.tls.certificate of the config, has no PEM certificate" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("local", "127.0.0.1"),
        ("named", "sidecar.example"),
        ("wild", "any.example"),
        ("numbered", "10.0.0.1"),
        ("bare", "bare.cn"),
        ("ca", "ca"),
    ],
)
def test_the_name_in_a_certificate(pem: Path, name: str, expected: str) -> None:
    made = operate_tls.from_files(operate_tls.Files(), pem / f"{name}.pem")
    assert made.name == expected
    assert made.ca is not None
    assert made.ca.count(b"BEGIN") == 1


@pytest.mark.parametrize(
    "der", [b"", b"\x30", b"\x30\x82", b"\x30\x03\x30\x01\x30", b"nonsense", b"\x30\x02\x30\x00"]
)
def test_bytes_that_are_no_certificate_have_no_name(der: bytes) -> None:
    assert operate_tls.certificate_name(der) is None


def test_the_certificate_is_for_the_name_whose_addresses_are_dialled(
    invoke: Invoke, serve: Serve, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with several addresses stands for several sidecars; each shows a certificate for the name."""
    admin = serve(server_credentials(pem, "named"))
    admin.answer = pb.StatusResponse(version="1.2.3")
    port = admin.address.rpartition(":")[2]
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return real(host, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (1, 77)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    ca = ("--tls-ca", str(pem / "ca.pem"))
    result = invoke("status", "--address", f"sidecar.example:{port}", *ca)
    assert f"127.0.0.1:{port}: kafka-sidecar 1.2.3" in result.stdout
    result = invoke("status", "--address", f"stranger.example:{port}", *ca)
    assert result.exit_code == 1
    assert f"no TLS with 127.0.0.1:{port}: the certificate is for another name" in result.stderr
