"""Does this picture belong to this text? Given pairs, judged one by one, and a collection's own, worst first."""

from __future__ import annotations

from isthmus.core.matching.audit import AUDIT_NEIGHBOURS, AUDIT_PAIRS_MAX, AUDIT_PAIRS_MIN, PairAudit, audit_pairs
from isthmus.core.matching.matcher import Decision, MatchTerms, PairMatches, PairSides, judge_pairs, pair_curve
from isthmus.core.matching.sides import Sides

__all__ = [
    "AUDIT_NEIGHBOURS",
    "AUDIT_PAIRS_MAX",
    "AUDIT_PAIRS_MIN",
    "Decision",
    "MatchTerms",
    "PairAudit",
    "PairMatches",
    "PairSides",
    "Sides",
    "audit_pairs",
    "judge_pairs",
    "pair_curve",
]
