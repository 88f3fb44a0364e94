"""Proposals to fit again: durable records, one open at a time for each cause, closed by a person or by a promotion.

    <tenant>/<collection>/<id>.json           the proposal, as it was made; never changed
    <tenant>/<collection>/<id>.closed.json    what became of it

An id is the digest of the collection's uid, the aligner, the cause and how often it was proposed before: two processes
that see the same make the same record. Blocking; for one thread at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from isthmus.alignment.watching.documents import Documents
from isthmus.core.watch import Breach
from isthmus.runtime.base.logging import fields

__all__ = ["Proposal", "ProposalBook", "ProposalState"]

log = logging.getLogger("isthmus.alignment")

ProposalState = Literal["open", "dismissed", "superseded"]

_SUFFIX: Final = ".json"
_CLOSED: Final = ".closed.json"
_ID_HEX_DIGITS: Final = 16
_AGAIN_FACTOR: Final = 2.0
"""A dismissed proposal is made again once its figure is so many times what was dismissed."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """That an aligner should be fitted again, and why."""

    proposal: str
    """Its id, 16 hexadecimal digits."""
    collection: str
    uid: str
    """Of the collection: told apart from an earlier one of the same name by this."""
    aligner: str
    """The aligner that the world has moved away from."""
    cause: str
    """mean, spectrum or probe_recall."""
    subject: str
    """The modality that has moved furthest; empty for probe_recall."""
    figure: float
    limit: float
    revision: int
    """Of the collection, at which it was seen first."""
    time_micros: int
    """When that was, since 1970."""
    command: str
    """What would fit anew."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """All figures of that look, plain JSON values."""
    state: ProposalState = "open"
    closed_micros: int = 0
    """When it was closed; 0 while it is open."""
    reason: str = ""
    """Why a person dismissed it."""

    @property
    def is_open(self) -> bool:
        """Whether nobody has acted on it."""
        return self.state == "open"


class ProposalBook:
    """The proposals of all collections.

    Args:
        documents: Where they are kept.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def of(self, tenant: str, collection: str) -> list[Proposal]:
        """Return the proposals of a collection, oldest first; a record that cannot be read is left out, and logged."""
        home = f"{tenant}/{collection}"
        names = self._documents.names(home)
        found = []
        for name in names:
            if name.endswith(_CLOSED) or not _is_id(name.removesuffix(_SUFFIX)):
                continue
            proposal = self._read(home, name.removesuffix(_SUFFIX), closed=name.replace(_SUFFIX, _CLOSED) in names)
            if proposal is not None:
                found.append(proposal)
        return sorted(found, key=lambda one: (one.time_micros, one.proposal))

    def propose(self, tenant: str, known: Sequence[Proposal], breach: Breach, template: Proposal) -> Proposal | None:
        """Keep a proposal, durably; None where one is open already, or a person has dismissed as much.

        Args:
            tenant: Whose collection.
            known: All proposals of the collection.
            breach: What was found.
            template: A proposal with everything but id and what the breach says.
        """
        before = [
            one for one in known if (one.uid, one.aligner, one.cause) == (template.uid, template.aligner, breach.cause)
        ]
        if any(one.is_open for one in before):
            return None
        dismissed = [one.figure for one in before if one.state == "dismissed"]
        if dismissed and breach.figure < _AGAIN_FACTOR * max(dismissed):
            return None
        source = json.dumps([template.uid, template.aligner, breach.cause, len(before)])
        made = replace(
            template,
            proposal=hashlib.sha256(source.encode()).hexdigest()[:_ID_HEX_DIGITS],
            cause=breach.cause,
            subject=breach.subject,
            figure=breach.figure,
            limit=breach.limit,
        )
        document = asdict(made)
        for name in ("state", "closed_micros", "reason"):
            del document[name]
        self._write(f"{tenant}/{made.collection}/{made.proposal}{_SUFFIX}", document)
        return made

    def close(
        self, tenant: str, proposal: Proposal, *, state: ProposalState, now_micros: int, reason: str = ""
    ) -> Proposal:
        """Close an open proposal, durably."""
        closing = {"state": state, "closed_micros": now_micros, "reason": reason}
        self._write(f"{tenant}/{proposal.collection}/{proposal.proposal}{_CLOSED}", closing)
        return replace(proposal, state=state, closed_micros=now_micros, reason=reason)

    def _read(self, home: str, proposal: str, *, closed: bool) -> Proposal | None:
        try:
            document = json.loads(self._documents.read(f"{home}/{proposal}{_SUFFIX}") or b"")
            if closed:
                document |= json.loads(self._documents.read(f"{home}/{proposal}{_CLOSED}") or b"")
            found = Proposal(**document)
        except (TypeError, ValueError):
            log.warning("a proposal cannot be read", extra=fields(proposal=proposal))
            return None
        return found if found.proposal == proposal else None

    def _write(self, path: str, document: Mapping[str, Any]) -> None:
        self._documents.write(path, json.dumps(document, sort_keys=True, indent=2).encode())


def _is_id(name: str) -> bool:
    return len(name) == _ID_HEX_DIGITS and all(digit in "0123456789abcdef" for digit in name)
