"""Who may act on the page: the operators among the identities of the config."""

from __future__ import annotations

from sidecar.config.identities import OF_TOKEN
from sidecar.config.model import ServerConfig
from sidecar.server.identities import Identities


class Operators:
    """The identities that may operate the sidecar, for requests that carry a token."""

    def __init__(self, config: ServerConfig, identities: Identities) -> None:
        self._identities = identities
        self._has_admin_token = config.admin_token is not None
        listed = any(one.operate == "all" and one.certificate is None for one in config.identities)
        self.possible = self._has_admin_token or listed
        """Whether anybody may act."""

    def named(self, token: bytes) -> tuple[str, bool] | None:
        """Whose token this is, and whether they may act or only read; None: no operator's.

        `server.token` is the lambdas': here it counts for nothing, though commands accept it where there is no admin
        token. A browser is not a place for it.
        """
        found = self._identities.with_token(token)
        if found is None or found.identity.operate == "none":
            return None
        if found.identity.name == OF_TOKEN and not self._has_admin_token:
            return None
        return found.identity.name, found.identity.operate == "all"
