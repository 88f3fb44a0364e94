"""Who belongs to whom, where no pair key says so: links by assignment or by best candidate, with probabilities."""

from __future__ import annotations

from isthmus.core.linking.assignment import BLOCK_ITEMS, assign
from isthmus.core.linking.candidates import CANDIDATES, CandidateGraph, LinkSides, candidate_graph
from isthmus.core.linking.linking import LinkMode, LinkTerms, ProposedLinks, propose_links
from isthmus.core.linking.posterior import one_sided, two_sided

__all__ = [
    "BLOCK_ITEMS",
    "CANDIDATES",
    "CandidateGraph",
    "LinkMode",
    "LinkSides",
    "LinkTerms",
    "ProposedLinks",
    "assign",
    "candidate_graph",
    "one_sided",
    "propose_links",
    "two_sided",
]
