"""Text files line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from isthmus.cli.sources.record import SourceError

__all__ = ["read_lines"]


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line) of every line of a UTF-8 file that is not blank.

    Raises:
        SourceError: it cannot be read or is not UTF-8.
    """
    try:
        # newline="\n": a carriage return inside a text is part of it; one at the end of a line is not.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                text = line.rstrip("\r\n")
                if text.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8"
        raise SourceError(msg) from error
    except OSError as error:
        msg = f"{path}: {error.strerror or error}"
        raise SourceError(msg) from error
