"""Does this picture belong to this text? Given pairs, judged one by one."""

from __future__ import annotations

from isthmus.core.matching.matcher import Decision, MatchTerms, PairMatches, PairSides, judge_pairs, pair_curve

__all__ = ["Decision", "MatchTerms", "PairMatches", "PairSides", "judge_pairs", "pair_curve"]
