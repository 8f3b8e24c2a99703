"""Who may talk to the page: requests of its own to its own name, of a bounded size, with its token."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from thriftseg.annotation.page.refusals import TooLarge
from thriftseg.limits import Limit

REQUEST_BYTES = Limit("REQUEST_BYTES", 2**24, "bytes in a request")
"""Of the body of a request to the page."""

_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}

_TOO_LARGE = "a request of too many bytes"
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Lets through what may reach the page (ASGI middleware), and refuses the rest in a sentence.

    Args:
        app: The page.
        token: What requests have to know.
        host: Address that the server listens at.
        port: Its port.
    """

    def __init__(self, app: Any, token: str, host: str, port: int) -> None:
        self._app, self._token, self._port = app, token, port
        self._names = {*_LOCAL, host, *((socket.gethostname(), socket.getfqdn()) if host not in _LOCAL else ())}
        self._any_address = host in ("0.0.0.0", "::", "")  # noqa: S104 # nosec B104 - what the user asked for
        self.cookie = f"thriftseg_{port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send) if scope["type"] == "lifespan" else await _closed(send)
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        enters = scope["path"] == "/" and self._matches(
            parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        )
        refusal = self._refusal(scope, headers, enters)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        taken = 0

        async def receive_some() -> Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > REQUEST_BYTES.value:
                raise TooLarge(_TOO_LARGE)
            return message

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = dict(_HEADERS)
                if not any(name == b"cache-control" for name, _ in message.get("headers", ())):
                    extra["cache-control"] = "no-store" if enters else "no-cache"  # a kept page would bring no cookie
                if enters:
                    extra["set-cookie"] = f"{self.cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name.encode(), value.encode()) for name, value in extra.items()),
                ]
            await send(message)

        await self._app(scope, receive_some, send_guarded)

    def _refusal(self, scope: Any, headers: dict[str, str], enters: bool) -> tuple[int, str, str | None] | None:
        """Status, reason and what to do about it; `None` for a request that may pass."""
        if not self._is_own(headers.get("host", "")):
            return 403, "the request names another host", "open the address that the server printed"
        origin = headers.get("origin")
        if origin is not None and not (origin.startswith("http://") and self._is_own(origin.removeprefix("http://"))):
            return 403, "the request comes from another page", "open the address that the server printed"
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = [bearer] if scheme.lower() == "bearer" else []
        for part in headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            given += [value] if name == self.cookie else []
        if not enters and not self._matches(given):
            return 401, "the token is missing or wrong", "open the address that the server printed"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > REQUEST_BYTES.value:
            return TooLarge.status, _TOO_LARGE, None
        return None

    def _matches(self, given: Iterable[str]) -> bool:
        return any([hmac.compare_digest(each.encode(), self._token.encode()) for each in given])

    def _is_own(self, named: str) -> bool:
        """Whether a name with a port is that of this server."""
        host, _, port = (named if ":" in named.rpartition("]")[2] else f"{named}:80").rpartition(":")
        if not port.isdecimal() or int(port[:9]) != self._port:
            return False
        host = host.removeprefix("[").removesuffix("]").lower()
        if host in {name.lower() for name in self._names}:
            return True
        try:  # a name could be made to point here by others, an address could not
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return self._any_address


async def _answer(send: Any, status: int, error: str, fix: str | None) -> None:

    body = msgspec.json.encode({"error": error, "fix": fix})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close"), *((name.encode(), value.encode()) for name, value in _HEADERS.items())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _closed(send: Any) -> None:
    await send({"type": "websocket.close", "code": 1008})
