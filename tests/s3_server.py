"""A real S3 server on loopback (moto's), which counts what it is sent and can be held."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUCKET = "backups"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "of-no-use-elsewhere",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Request:
    """One request that the server received."""

    method: str
    path: str
    query: str
    size: int

    @property
    def sends(self) -> bool:
        """Whether it carries an object's bytes, or a part's."""
        return self.method == "PUT" and self.size > 0


@dataclass
class S3Server:
    """What the server saw, and when it is to stop answering.

    Attributes:
        endpoint: Its URL.
        requests: Every request, in order of arrival.
        held_at: A request for which this is true is never answered.
        held: Set when one was held.
    """

    endpoint: str = ""
    requests: list[Request] = field(default_factory=list)
    held_at: Callable[[Request, list[Request]], bool] = lambda _, __: False
    held: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a program that backs up to it."""
        return {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}

    @property
    def client(self) -> Any:
        """A client of S3 that is not the program's."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="tester",
            aws_secret_access_key="of-no-use",  # noqa: S106 - moto takes any
        )

    def sent(self) -> int:
        """Return the bytes of objects and parts that were sent."""
        return sum(each.size for each in self.requests if each.sends)

    def objects(self) -> list[str]:
        """Return the keys of all objects."""
        return [
            each["Key"] for each in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", ())
        ]

    def uploads(self) -> list[dict[str, Any]]:
        """Return the uploads in parts that were begun and not ended."""
        return list(self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()))

    def forget(self) -> None:
        """Begin to count anew."""
        self.requests.clear()
        self.held_at = lambda _, __: False
        self.held.clear()

    def wrap(self, application: Any) -> Any:
        """Return the application with the counting around it."""

        def counting(environ: dict[str, Any], start_response: Any) -> Any:
            request = Request(
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                environ.get("QUERY_STRING", ""),
                int(environ.get("CONTENT_LENGTH") or 0),
            )
            if self.held_at(request, self.requests):
                self.held.set()
                self.released.wait(60)
                start_response("503 Service Unavailable", [])
                return [b""]
            self.requests.append(request)
            return application(environ, start_response)

        return counting


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None:
        """Say nothing of each request."""


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Yield a server with one empty bucket, ``BUCKET``."""
    state = S3Server()
    application = state.wrap(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        state.client.create_bucket(Bucket=BUCKET)
        state.forget()
        yield state
    finally:
        state.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
