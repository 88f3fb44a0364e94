"""An S3 server on loopback, for stores on an object store: `python -m tests.harness.s3_server`.

It answers one request at a time. The server it is made of looks whether an object is there and then writes it, in two
steps; side by side, two writers could both be told that theirs was the first, which no real store does.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib import request

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.harness.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["S3Server", "running_s3"]

_BUCKET = "isthmus"
_LOSE_ANSWER = "/-/lose-answer"


@dataclass(frozen=True, slots=True)
class S3Server:
    """A server that runs, with one bucket."""

    endpoint: str

    @property
    def root(self) -> str:
        """The URI of the bucket."""
        return f"s3://{_BUCKET}"

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to reach it, as in production."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def object_names(self, prefix: str = "") -> list[str]:
        """Return the names of all objects below a prefix."""
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=_BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def lose_answer(self) -> None:
        """Answer the next commit of a table with an error after it was made."""
        request.urlopen(f"{self.endpoint}{_LOSE_ANSWER}", timeout=10).close()  # noqa: S310 - this very server

    def make_bucket(self) -> None:
        """Make the bucket."""
        self._client().create_bucket(Bucket=_BUCKET)

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",  # noqa: S106 - of a server that takes any
        )


@contextlib.contextmanager
def running_s3() -> Iterator[S3Server]:
    """Run a server in a process of its own."""
    with Process(["-m", "tests.harness.s3_server"], ready="s3 ready ") as process:
        server = S3Server(process.address)
        server.make_bucket()
        yield server


class _OneAtATime:
    """Serves requests one after the other, and loses the answer to a commit when it was told to."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._loses_answer = False

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        with self._lock:
            if environ["PATH_INFO"] == _LOSE_ANSWER:
                self._loses_answer = True
                start_response("200 OK", [("Content-Length", "0")])
                return [b""]
            commit = environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith(".manifest")
            if self._loses_answer and commit:
                self._loses_answer = False
                list(self._app(environ, lambda *_: None))
                start_response("500 Internal Server Error", [("Content-Length", "0")])
                return [b""]
            return self._app(environ, start_response)


def _main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = _OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"s3 ready http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _main()
