"""Files that are read again when they change: without gaps, and without giving up what works."""

import shutil
import time
from pathlib import Path

import pytest

from sidecar.config import TlsConfig
from sidecar.config.credentials import MAX_TOKENS, tokens_in
from sidecar.server import renewal
from sidecar.server.certificates import Certificates
from sidecar.server.renewal import MAX_FILE_BYTES, Renewals, Renewed

from .test_access import authority, signed


class Tokens:
    """A token file, and what was made of it."""

    def __init__(self, file: Path, text: str = "one\n") -> None:
        self.file = file
        self.used: list[tuple[str, ...]] = []
        self.reads = 0
        file.write_text(text)
        self.renewed = Renewed("server.identities[0].token_file", "identity:x", [file], self._make, self.used.append)

    def _make(self, contents: list[bytes]) -> tuple[str, ...]:
        self.reads += 1
        return tokens_in(contents[0].decode())

    @property
    def problem(self) -> str:
        return "" if self.renewed.problem is None else self.renewed.problem.text


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    made = Tokens(tmp_path / "tokens")
    made.renewed.first()
    return made


async def test_a_changed_file_is_used_and_an_unchanged_one_is_not(tokens: Tokens) -> None:
    assert tokens.used == [("one",)]
    await Renewals([tokens.renewed]).look()
    assert tokens.used == [("one",)]
    tokens.file.write_text("\n two \none\n\n")
    await Renewals([tokens.renewed]).look()
    assert tokens.used == [("one",), ("two", "one")]
    assert tokens.renewed.problem is None


async def test_a_write_that_stat_does_not_show_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes within one tick of the file system's clock leave the same times and the same size."""
    monkeypatch.setattr(renewal, "_signature", lambda _: (((1, 2, 4, 5, 6),), time.time()))
    tokens = Tokens(tmp_path / "tokens")
    tokens.renewed.first()
    tokens.file.write_text("two\n")
    await Renewals([tokens.renewed]).look()
    assert tokens.used == [("one",), ("two",)]


async def test_a_file_that_has_settled_is_not_read_again(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "SETTLED_S", -1.0)
    await Renewals([tokens.renewed]).look()
    read: list[Path] = []

    def contents(file: Path) -> bytes:
        read.append(file)
        return file.read_bytes()

    monkeypatch.setattr(renewal, "_contents", contents)
    await Renewals([tokens.renewed]).look()
    assert read == []
    tokens.file.write_text("another")
    await Renewals([tokens.renewed]).look()
    assert tokens.used[-1] == ("another",)
    assert read


async def test_kubernetes_swaps_a_symbolic_link(tmp_path: Path) -> None:
    """As the kubelet does: the file is a link into ..data, a link that is replaced by a rename."""
    for number in ("1", "2"):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}/token").write_text(number)
    (tmp_path / "..data").symlink_to("..1")
    file = tmp_path / "token"
    file.symlink_to("..data/token")
    used: list[bytes] = []
    renewed = Renewed("x", "x", [file], lambda contents: contents[0], used.append)
    renewed.first()
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    await Renewals([renewed]).look()
    assert used == [b"1", b"2"]


@pytest.mark.parametrize("text", ["", "\n \n", "two words", "caf\u00e9", None, "x" * 5_000, "y\n" * 600_000])
async def test_contents_that_cannot_be_used_change_nothing(tokens: Tokens, text: str | None) -> None:
    tokens.file.unlink()
    if text is not None:
        tokens.file.write_text(text)
    await Renewals([tokens.renewed]).look()
    problem = tokens.renewed.problem
    assert problem is not None
    assert not problem.blocks
    assert problem.kind == "identity:x"
    assert problem.text.startswith(f"server.identities[0].token_file: {tokens.file} cannot be used: ")
    assert problem.text.endswith("; until then its last good contents are used")
    assert text in (None, "", "\n \n") or text[:9] not in problem.text, "a secret may be in the file"
    await Renewals([tokens.renewed]).look()
    assert tokens.renewed.problem == problem, "it is one problem, since one time"
    assert tokens.used == [("one",)]
    tokens.file.write_text("one\n")
    await Renewals([tokens.renewed]).look()
    assert tokens.renewed.problem is None
    assert tokens.used == [("one",)], "as before"
    tokens.file.write_text("two\n")
    await Renewals([tokens.renewed]).look()
    assert tokens.used == [("one",), ("two",)]


async def test_a_file_that_changes_while_it_is_read_is_read_once_more(tokens: Tokens) -> None:
    def make(contents: list[bytes]) -> tuple[str, ...]:
        if contents[0] == b"two\n":
            tokens.file.write_text("three\n")
        return tokens_in(contents[0].decode())

    renewed = Renewed("x", "x", [tokens.file], make, tokens.used.append)
    renewed.first()
    tokens.file.write_text("two\n")
    await Renewals([renewed]).look()
    assert renewed.problem is not None
    assert "changes while it is read" in renewed.problem.text
    await Renewals([renewed]).look()
    assert renewed.problem is None
    assert tokens.used[-1] == ("three",)
    assert ("two",) not in tokens.used


def test_at_first_the_contents_must_be_right(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens", "")
    with pytest.raises(
        OSError, match=r"token_file: .*tokens cannot be used: it has no token; write one in each line"
    ):
        tokens.renewed.first()
    tokens.file.unlink()
    with pytest.raises(OSError, match="cannot be used: No such file or directory"):
        Renewals([tokens.renewed]).first()


def test_the_tokens_in_a_file() -> None:
    assert tokens_in("a\r\n\n  b\nb\n") == ("a", "b")
    with pytest.raises(ValueError, match=f"it has {MAX_TOKENS + 1} tokens"):
        tokens_in("\n".join(f"t{number}" for number in range(MAX_TOKENS + 1)))
    assert MAX_FILE_BYTES > MAX_TOKENS * 4_097


async def test_without_files_there_is_nothing_to_watch() -> None:
    started = time.monotonic()
    await Renewals([]).watch()
    assert time.monotonic() - started < renewal.LOOK_INTERVAL_S


async def test_a_key_that_comes_before_its_certificate_changes_nothing(tmp_path: Path) -> None:
    authority(tmp_path, "ca")
    for name in ("old", "new"):
        signed(tmp_path, name, "ca")
    for kind in ("pem", "key"):
        shutil.copy(tmp_path / f"old.{kind}", tmp_path / f"server.{kind}")
    config = TlsConfig(
        certificate=tmp_path / "server.pem", key=tmp_path / "server.key", client_ca=tmp_path / "ca.pem"
    )
    certificates = Certificates(config)
    certificates.renewed.first()
    certificates.credentials()
    first = certificates._changed()
    assert first is not None
    assert certificates._changed() is None, "as before"
    shutil.copy(tmp_path / "new.key", tmp_path / "server.key")
    await Renewals([certificates.renewed]).look()
    assert certificates.renewed.problem is not None
    assert "KEY_VALUES_MISMATCH" in certificates.renewed.problem.text
    assert certificates._changed() is None
    shutil.copy(tmp_path / "new.pem", tmp_path / "server.pem")
    await Renewals([certificates.renewed]).look()
    assert certificates.renewed.problem is None
    assert certificates._changed() not in (None, first)
    (tmp_path / "ca.pem").write_text("nonsense")
    await Renewals([certificates.renewed]).look()
    assert certificates.renewed.problem is not None
    assert certificates._changed() is None
