"""Files that a command names: they fail in one way, whoever reads or writes them."""

from __future__ import annotations

from pathlib import Path

from isthmus.cli.failures import CommandError

__all__ = ["read_bytes", "unreadable", "unwritable"]


def unreadable(path: Path, error: OSError) -> CommandError:
    """Return the error for a file that cannot be read."""
    return CommandError(f"{path}: {error.strerror or error}", reason="UNREADABLE_FILE")


def unwritable(path: Path, error: OSError) -> CommandError:
    """Return the error for a file or folder that cannot be written."""
    return CommandError(f"{path}: {error.strerror or error}", reason="UNWRITABLE_FILE")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
