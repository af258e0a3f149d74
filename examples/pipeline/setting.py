"""A run's own names, which nobody else uses, and the sidecar's config with them."""

import sys
from dataclasses import dataclass
from typing import Any

AS_RECORDED = {"clientTimeout": 10**13, "noOpConsolidationTimeout": 10**8, "activityTimeout": 10**8}
"""With deli's default timers, it would number messages of its own between recorded ones, whose clients were last
active years ago."""


@dataclass(frozen=True)
class Names:
    """Topics, groups, and the database of the operations."""

    run: str

    @property
    def rawdeltas(self) -> str:
        """The topic that clients write to."""
        return f"pipeline-{self.run}-rawdeltas"

    @property
    def deltas(self) -> str:
        """The topic with the numbered operations."""
        return f"pipeline-{self.run}-deltas"

    @property
    def state(self) -> str:
        """The topic in which deli keeps its states."""
        return f"pipeline-{self.run}-deli-state"

    @property
    def groups(self) -> list[str]:
        """The groups of deli and scriptorium."""
        return [f"pipeline-{self.run}-deli", f"pipeline-{self.run}-scriptorium"]

    @property
    def topics(self) -> list[str]:
        """All topics."""
        return [self.rawdeltas, self.deltas, self.state]

    @property
    def database(self) -> str:
        """The database, the same for all runs."""
        return "kafka_sidecar_pipeline"

    @property
    def collection(self) -> str:
        """The collection in that database."""
        return f"deltas_{self.run}"

    def lines(self) -> list[str]:
        """The names as text, for the user."""
        return [
            f"topics {', '.join(self.topics)}",
            f"groups {', '.join(self.groups)}",
            f"collection {self.database}.{self.collection}",
        ]


def config(names: Names, kafka: str, recorded: bool) -> dict[str, Any]:
    """The sidecar's config with both lambdas. The database's address, which may contain a password, is a variable."""
    deli, scriptorium = names.groups
    python = sys.executable
    sequencer = {"sequencer": AS_RECORDED} if recorded else {}
    return {
        "kafka": {"bootstrap.servers": kafka},
        "server": {"listen": "${DEMO_LISTEN}"},
        "lambdas": {
            "deli": {
                "topic": names.rawdeltas,
                "group": deli,
                "plugin": "sdk_python.document_router",
                "document_lambda": "examples.deli.service",
                "produce": names.topics,
                "command": [python, "-m", "sdk_python.serve", "deli"],
                "settings": {
                    "document_router": {"corrupt_documents": "skip"},
                    "kafka": {"bootstrap.servers": kafka},
                    "deltas": names.deltas,
                    "state": names.state,
                    **sequencer,
                },
            },
            "scriptorium": {
                "topic": names.deltas,
                "group": scriptorium,
                "plugin": "examples.scriptorium",
                "command": [python, "-m", "sdk_python.serve", "scriptorium"],
                "settings": {
                    "url": "${PIPELINE_MONGO}",
                    "database": names.database,
                    "collection": names.collection,
                    # Short times, so that an outage and its end show while somebody watches.
                    "retry_waits": [0.1, 0.3],
                    "health_interval": 0.5,
                    "selection_timeout": 0.5,
                },
            },
        },
    }
