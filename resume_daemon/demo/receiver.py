"""A webhook receiver in this process: takes the daemon's alerts and checks their signatures."""

from __future__ import annotations

import base64
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Final, Self

from standardwebhooks import Webhook, WebhookVerificationError

if TYPE_CHECKING:
    from types import TracebackType

_LARGEST_BODY: Final = 1 << 20
_STOP_SECONDS: Final = 5.0


class Receiver:
    """Listens on a free port of this machine alone while it is used as a context.

    Attributes:
        secret: The signing secret, made anew each time.
        url: Where it listens.
        arrived: Ids of the messages that came with a right signature; a repeated one counts once.
        refused: How many came with a wrong one.
    """

    def __init__(self) -> None:
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.arrived: set[str] = set()
        self.refused = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/alerts"
        self._thread = Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_STOP_SECONDS)

    def take(self, body: bytes, headers: dict[str, str]) -> bool:
        """Return whether a message is the daemon's, and count it."""
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            self.refused += 1
            return False
        self.arrived.add(headers["webhook-id"])
        return True


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _STOP_SECONDS

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(min(length, _LARGEST_BODY))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(204 if receiver.take(body, headers) else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet: the screen belongs to the demo."""

    return Handler
