"""Small files that are replaced while a process runs: certificates, keys."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Generic, TypeVar

from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.metrics import FILE_CURRENT, FILE_RELOADS

__all__ = ["Reloaded", "UnusableFileError"]

log = logging.getLogger("isthmus.reload")

Value = TypeVar("Value")

_MAX_BYTES: Final = 1024 * 1024
_POLL_S: Final = 1.0
"""How often to look. Content is compared, so that a swapped symlink, as Kubernetes mounts them, counts as a change."""


class UnusableFileError(ValueError):
    """A file that the process was told to use cannot be used. The message names the setting, never what it holds."""


class Reloaded(Generic[Value]):
    """What some files hold together, read again when they change; a broken version leaves the last good one in use.

    Args:
        what: Names the files in logs and metrics, for example `tls`.
        paths: The files by the name of their setting.
        parse: Makes the value of the files' contents, by the same names; raises UnusableFileError.

    Attributes:
        value: The newest that was good.

    Raises:
        UnusableFileError: the files cannot be used as they are now.
    """

    def __init__(self, what: str, paths: Mapping[str, Path], parse: Callable[[Mapping[str, bytes]], Value]) -> None:
        self._what = what
        self._paths = dict(paths)
        self._parse = parse
        self._seen: Mapping[str, bytes] | str = self._read()
        self.value = parse(self._seen)
        self._due_s = time.monotonic() + _POLL_S
        FILE_CURRENT.labels(what).set(1)

    def _read(self) -> Mapping[str, bytes]:
        contents = {}
        for setting, path in self._paths.items():
            try:
                with path.open("rb") as file:
                    contents[setting] = file.read(_MAX_BYTES + 1)
            except OSError as error:
                msg = f"{setting} cannot be read: {error.strerror}"
                raise UnusableFileError(msg) from error
            if len(contents[setting]) > _MAX_BYTES:
                msg = f"{setting} is larger than {_MAX_BYTES} bytes"
                raise UnusableFileError(msg)
        return contents

    def newest(self) -> Value:
        """Return the newest good value, looking for a newer one first when the last look was a second ago."""
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + _POLL_S
            self.refresh()
        return self.value

    def refresh(self) -> None:
        """Look once."""
        try:
            contents = self._read()
        except UnusableFileError as error:
            self._complain(str(error), seen=str(error))
            return
        if contents == self._seen:
            return
        try:
            self.value = self._parse(contents)
        except UnusableFileError as error:
            self._complain(str(error), seen=contents)
            return
        self._seen = contents
        FILE_CURRENT.labels(self._what).set(1)
        FILE_RELOADS.labels(self._what, "used").inc()
        log.info("changed file is in use", extra=fields(file=self._what))

    def _complain(self, problem: str, *, seen: Mapping[str, bytes] | str) -> None:
        """Say once of each broken version that it is not used."""
        if seen == self._seen:
            return
        self._seen = seen
        FILE_CURRENT.labels(self._what).set(0)
        FILE_RELOADS.labels(self._what, "refused").inc()
        log.error(
            "changed file cannot be used; the last good one stays in use",
            extra=fields(file=self._what, problem=problem),
        )

    async def watch(self) -> None:
        """Look every second until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            await asyncio.to_thread(self.refresh)
