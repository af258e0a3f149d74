"""A setting that cannot be is refused with its name, and a password is in no text."""

from __future__ import annotations

from typing import Any

import pytest

from examples.scriptorium.settings import Settings


def test_defaults() -> None:
    assert Settings.of({}) == Settings()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"databse": "x"}, "unknown setting 'databse': scriptorium knows url, database,"),
        ({"url": "postgres://u:secret@host"}, "url: expected a text that begins with mongodb://"),
        ({"url": None}, "url: expected"),
        ({"database": ""}, "database: expected a text"),
        ({"max_db_batch_size": -1}, "max_db_batch_size: expected a whole number, 0 for no limit, got -1"),
        ({"max_db_batch_size": True}, "max_db_batch_size"),
        ({"max_pending": 0}, "max_pending: expected a whole number above 0"),
        ({"expire_after": 0}, "expire_after"),
        ({"retry_waits": 3}, r"retry_waits: expected a list of seconds, such as \[1, 2, 4\]"),
        ({"retry_waits": (1, "2")}, "retry_waits"),
        ({"health_interval": 0}, "health_interval"),
        ({"selection_timeout": float("nan")}, "selection_timeout"),
        ({"socket_timeout": "5s"}, "socket_timeout: expected a number of seconds above 0, got '5s'"),
    ],
)
def test_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        Settings.of(settings)
    assert "secret" not in str(caught.value)


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(Settings.of({"url": "mongodb://user:secret@host"}))
