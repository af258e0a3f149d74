"""A log that a test can read."""

from typing import cast

from structlog.typing import FilteringBoundLogger


class Recorder:
    """Keeps what is logged: level and event."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.fields: list[dict[str, object]] = []

    @property
    def log(self) -> FilteringBoundLogger:
        return cast("FilteringBoundLogger", self)

    def take(self) -> list[tuple[str, str]]:
        """What was logged since the last look."""
        lines, self.lines = self.lines, []
        return lines

    def told(self) -> list[tuple[str, str]]:
        """What was logged since the last look, without what is for debugging only."""
        return [line for line in self.take() if line[0] != "debug"]

    def debug(self, event: str, **fields: object) -> None:
        self._keep("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._keep("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._keep("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._keep("error", event, fields)

    def _keep(self, level: str, event: str, fields: dict[str, object]) -> None:
        self.lines.append((level, event))
        self.fields.append(fields)
