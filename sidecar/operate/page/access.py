"""Who may do something on the page: whoever has the operators' token, from the page itself.

Two attacks of a stranger's page in an operator's browser are answered here and in `hosts.py`:

- **Cross-site requests.** There is no cookie that a browser would send by itself. The token travels in a header that
  only our page's script sets. And a request that a browser marks as coming from another site is refused.
- **DNS rebinding.** A stranger's name that resolves to our address is another origin: the browser does not give it
  what our page has stored. On loopback such a name is refused at once (`hosts.py`).
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from urllib.parse import urlsplit

from starlette.requests import Request

from sidecar.logs import get_logger
from sidecar.operate.page.refusal import Refusal

WRONG_TOKEN_DELAY_S = 1.0
"""A wrong token is answered so late. Connections are bounded, so guessing is slow."""

HOW_TO_ACT = (
    "this sidecar has no operators' token, so the page only shows: set server.admin_token in its config (such as "
    "${ADMIN_TOKEN}), start it again, and give the token to the page"
)
MISSING = "give the operators' token (server.admin_token of the sidecar's config, or that of an identity)"
WRONG = (
    "the token is wrong: it is server.admin_token of the sidecar's config, or that of an identity with "
    "`operate: all`, and not the lambdas' token"
)
CROSS_SITE = "the request comes from another site's page; only this sidecar's own page may ask for that"

_BEARER = "Bearer "

_log = get_logger(__name__)


class Operators(Protocol):
    """Who may act."""

    possible: bool
    """Whether anybody may."""

    def named(self, token: bytes) -> tuple[str, bool] | None:
        """Whose token this is, and whether they may act or only read; None: no operator's."""


class Access:
    """The check of requests that act, or that read records."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators

    @property
    def possible(self) -> bool:
        """Whether anybody may act: there is an operators' token."""
        return self._operators.possible

    async def check(self, request: Request) -> str:
        """Raise ``Refusal`` unless the request carries an operator's token and comes from no other site.

        Returns the operator's name.
        """
        check_site(request)
        if not self._operators.possible:
            raise Refusal(403, HOW_TO_ACT)
        given = request.headers.get("authorization", "")
        if not given.startswith(_BEARER):
            raise Refusal(401, MISSING, {"WWW-Authenticate": "Bearer"})
        found = self._operators.named(given.removeprefix(_BEARER).encode("latin-1"))
        if found is None:
            peer = request.client.host if request.client else "?"
            _log.warning("a wrong operators' token was given to the page", peer=peer)
            await asyncio.sleep(WRONG_TOKEN_DELAY_S)
            raise Refusal(401, WRONG, {"WWW-Authenticate": "Bearer"})
        name, may_act = found
        if not may_act:
            raise Refusal(403, f"the identity {name!r} may only read; `operate: all` in the config lets it act")
        return name


def check_site(request: Request) -> None:
    """Raise ``Refusal`` for a request that another site's page makes.

    Browsers say it in `Sec-Fetch-Site`; older ones, or those on plain http, send only `Origin`. A program that is no
    browser sends neither, and needs the token all the same.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise Refusal(403, CROSS_SITE)
        return
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
        raise Refusal(403, CROSS_SITE)
