"""Kafka and the database: named ones, or those that the project's tests start."""

from collections.abc import Callable
from contextlib import ExitStack

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, PyMongoError

from examples.demo.run import RunError
from examples.scriptorium.store import describe

TIMEOUT = 5.0
"""Seconds for an answer of a named server."""


class Servers(ExitStack):
    """Ends the servers that it has started when it is closed."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def kafka(self, address: str | None) -> str:
        """The address of a Kafka that answers. Raises ``RunError`` when it does not."""
        if address is None:
            return self._own_kafka()
        try:
            AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=TIMEOUT)
        except KafkaException as error:
            raise RunError(f"no Kafka answers at {address}: {error.args[0].str()}") from None
        return address

    def database(self, url: str | None) -> str:
        """The url of a database that answers. Raises ``RunError`` when it does not, without the password."""
        if url is None:
            return self._own_database()
        try:
            with MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=int(TIMEOUT * 1000)) as client:
                client.admin.command("ping")
        except (ConfigurationError, ValueError, TypeError) as error:
            raise RunError(f"--mongo: no valid MongoDB url ({type(error).__name__})") from None
        except PyMongoError as error:
            raise RunError(f"no database answers: {describe(error)}") from None
        return url

    def _own_kafka(self) -> str:
        from tests.servers import kafka  # noqa: PLC0415 - only where no server is named

        missing = kafka.missing_requirements()
        if missing:
            raise RunError(f"{missing}; or name your own: --kafka HOST:PORT")
        self._say("starting Kafka (the first time, Maven fetches it)")
        try:
            return self.enter_context(kafka.KafkaServer()).address
        except kafka.KafkaServerError as error:
            raise RunError(f"{error}") from None

    def _own_database(self) -> str:
        from tests.servers import ferretdb  # noqa: PLC0415

        missing = ferretdb.missing_requirements()
        if missing:
            raise RunError(f"{missing}; or name your own: --mongo mongodb://HOST")
        self._say("starting FerretDB (the first time, it is built, which takes a minute or two)")
        try:
            return self.enter_context(ferretdb.FerretServer()).url
        except ferretdb.FerretServerError as error:
            raise RunError(f"{error}") from None
