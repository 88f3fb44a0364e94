"""`python -m isthmus.deploy.ray_host`: keeps a Ray and the applications on it, for the process that started it.

Ray takes a process over: its signals, its stdout, a part of its memory. So it gets one of its own; the gateway knows
nothing of it. Each line on stdin is a document of settings; the applications become what it says, and a line on stdout
answers. At the end of stdin, however it comes, everything is drained and ended.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TextIO

from pydantic import BaseModel, ConfigDict

from isthmus.deploy.ray_session import RaySession
from isthmus.deploy.serve_settings import ServeSettings

__all__ = ["RayAnswer", "RayRequest"]


class RayRequest(BaseModel):
    """What the applications are to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: ServeSettings
    """Of all of them."""
    address: str | None = None
    """A cluster to join; only the first request's counts."""


class RayAnswer(BaseModel):
    """What became of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = ""
    """A node of the cluster; empty when something failed."""
    error: str = ""
    """What failed, for a person."""
    missing: str = ""
    """A package that is not installed."""


def _answer(session: RaySession, request: RayRequest) -> RayAnswer:
    try:
        session.run(request.settings)
    except ImportError as error:
        return RayAnswer(error=str(error), missing=error.name or "")
    except OSError as error:
        return RayAnswer(error=str(error))
    return RayAnswer(host=session.host)


def _main(lines: TextIO, answers: TextIO) -> int:
    session: RaySession | None = None
    try:
        for line in lines:
            request = RayRequest.model_validate(json.loads(line))
            if session is None:
                session = RaySession(address=request.address)
            answers.write(_answer(session, request).model_dump_json() + "\n")
            answers.flush()
    finally:
        if session is not None:
            session.stop()
    return 0


if __name__ == "__main__":
    # Whatever Ray and its workers print goes to stderr: stdout belongs to the answers.
    own_stdout = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.exit(_main(sys.stdin, own_stdout))
