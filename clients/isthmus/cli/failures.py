"""How a command fails: one line on stderr, a hint where one helps, and an exit status."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Final

import typer

from isthmus.cli.output import print_json
from isthmus.client import IsthmusError

__all__ = ["CommandError", "UsageError", "complain", "missing_extra", "reporting"]

_FAILED: Final = 1
_USAGE: Final = 2

_UNREACHABLE_HINT: Final = "start a mesh with `isthmus up`, or name a running one with --address or ISTHMUS_ADDRESS"
_HINTS: Final[Mapping[str, str]] = {
    "ALIAS_NOT_FOUND": "`isthmus aliases list` shows what there is",
    "ALIAS_REFUSED": "fill the new collection first; --override-reason WHY switches all the same",
    "ALIGNER_NOT_FOUND": "`isthmus align list` shows what there is",
    "ALIGNER_SPACES_MISMATCH": "`isthmus align list` shows which spaces each aligner accepts; "
    "`isthmus train aligner` makes one for two encoders",
    "BACKUP_DAMAGED": "nothing was written; take another copy of it, or an earlier backup",
    "COLLECTION_EXISTS": "`isthmus collections delete NAME` removes it",
    "COLLECTION_HAS_ALIAS": "`isthmus aliases set ALIAS OTHER` points it elsewhere",
    "COLLECTION_NOT_FOUND": "`isthmus collections list` shows what there is; `isthmus index` makes one",
    "DEADLINE_EXCEEDED": "the mesh may be busy: `isthmus status` shows whether everything answers",
    "GUARD_BROKEN": "`isthmus align show ALIGNER` has every figure; --override REASON promotes it all the same",
    "INTERNAL": "this is a bug in the mesh; its log names this call by the request id",
    "KEY_EXPIRED": "`isthmus keys new` makes another one for the gateway's keys file",
    "KEY_REQUIRED": "set ISTHMUS_API_KEY, or name a file that holds the key: `isthmus --api-key-file FILE …`",
    "KEY_UNKNOWN": "its line is missing from the gateway's keys file; `isthmus keys new` prints key and line",
    "NO_ALIGNER": "`isthmus align list` shows what there is; `isthmus train aligner` makes one for two encoders",
    "NO_PREVIOUS_ALIGNER": "`isthmus align promote` makes another one active",
    "NOT_CALIBRATED": "`isthmus align fit --collection NAME --method identity` fits one; then `isthmus align promote`",
    "CURSOR_EXPIRED": "search again from the first page, without --page-token",
    "NOTHING_TO_LINK": "links are proposed for items that were indexed without a pair key",
    "NOT_READY": "the mesh is warming up: try again in a few seconds",
    "SPACE_MISMATCH": "`isthmus collections list` shows the spaces of each collection",
    "THUMBNAILS_DISABLED": "leave --thumbnails out, or index into a new collection",
    "UNVERIFIED_ALIGNER": "fit it on the collection, which judges it, or judge it elsewhere and say --allow-unverified",
    "VERDICT_OUTDATED": "`isthmus align fit` judges against what is active; --override REASON promotes it all the same",
}


class CommandError(Exception):
    """A command cannot go on.

    Args:
        message: What is wrong, for a person.
        reason: For machines, in capitals.
        hint: What helps.
    """

    exit_status = _FAILED

    def __init__(self, message: str, *, reason: str = "FAILED", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.hint = hint


class UsageError(CommandError):
    """The options do not make sense together."""

    exit_status = _USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, reason="USAGE", hint=hint)


def missing_extra(error: ImportError, *, extra: str, what: str) -> Exception:
    """Return what to raise when an import failed: which extra to install, or `error` itself when that is no reason.

    Args:
        error: A module that could not be imported.
        extra: The extra that holds it.
        what: What needs it.
    """
    if error.name is None or error.name.partition(".")[0] == "isthmus":
        return error
    return CommandError(
        f"{what} needs the package {error.name}", reason="EXTRA_MISSING", hint=f'pip install "isthmus[{extra}]"'
    )


@contextlib.contextmanager
def reporting(*, as_json: bool) -> Iterator[None]:
    """Turn the failures of a command into one line on stderr, and with `as_json` one document on stdout.

    Raises:
        typer.Exit: with 1 for a refusal or a failure, with 2 for options that make no sense.
    """
    try:
        yield
    except IsthmusError as error:
        name = error.reason or error.code
        complain(
            error.message,
            f"{name}, request id {error.request_id}" if error.reason == "INTERNAL" else name,
            hint=_hint(error),
        )
        if as_json:
            _print_error(error.code, error.reason, error.message, dict(error.metadata), error.request_id)
        raise typer.Exit(_FAILED) from None
    except CommandError as error:
        complain(error.message, error.reason, hint=error.hint)
        if as_json:
            _print_error("", error.reason, error.message, {}, "")
        raise typer.Exit(error.exit_status) from None
    except KeyboardInterrupt:
        complain("stopped before it was done", "INTERRUPTED")
        raise typer.Exit(_FAILED) from None


def _hint(error: IsthmusError) -> str:
    if error.code == "UNAVAILABLE" and not error.reason:
        return _UNREACHABLE_HINT
    if error.retry_after_s is not None:
        return f"try again in {error.retry_after_s:g} s"
    return _HINTS.get(error.reason, "")


def _print_error(code: str, reason: str, message: str, metadata: dict[str, str], request_id: str) -> None:
    print_json(
        {
            "error": {
                "code": code,
                "reason": reason,
                "message": message,
                "metadata": metadata,
                "request_id": request_id,
            }
        }
    )


def complain(message: str, reason: str, *, hint: str = "") -> None:
    """Say what is wrong, on one line of stderr, and what helps on a second one."""
    one_line = " ".join(message.split())
    print(f"error: {one_line} ({reason})", file=sys.stderr)
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)
