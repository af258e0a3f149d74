"""Requests to the page's API that are refused."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818 - named after the outcome for the client
    """Answers a request with this HTTP status; the text says why, and what helps."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers
