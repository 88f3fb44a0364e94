"""What the writer asks of an aligner before it becomes the active one."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.core.aligners import IdentityAligner, load_aligner
from isthmus.index.promotion import Admission, PromotionTerms, check_promotion
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError
from isthmus.runtime.base.guard import GuardTerms
from tests.unit.index.support import DIMENSION, SPACE

LIMITS = {"epsilon": 0.02, "structure_least": 0.5, "hubness_growth": 0.02}
PASSED = {"against": "", "guard": {"ok": True, "reasons": [], "limits": LIMITS}}
BROKEN = {
    "against": "",
    "guard": {"limits": LIMITS, "ok": False, "reasons": ["hubness growth: +0.150, must be at most +0.020", "and more"]},
}


def _check(report: dict[str, Any], *, allowed: GuardTerms | None = None, **terms: Any) -> Admission:
    artefact = IdentityAligner.fit(aligner_id="same", space=SPACE, dimension=DIMENSION, created_by="test")
    aligner = load_aligner(artefact.with_findings(calibration=None, report=report))
    return check_promotion(aligner, PromotionTerms(**terms), allowed=allowed or GuardTerms())


def test_an_aligner_whose_report_keeps_the_guard_is_taken() -> None:
    """No word of the caller is needed; what it was judged against is left to ask of the commit."""
    assert _check(PASSED | {"against": "old@0123456789abcdef"}) == Admission(against="old@0123456789abcdef")
    assert _check(PASSED, allow_unverified=True) == Admission(against="")


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"recall": {"t2i": {"r1": 0.5}}},
        {"guard": "fine"},
        {"guard": {"ok": True}},
        {"guard": PASSED["guard"]},
        PASSED | {"against": None},
        {"guard": {"ok": True, "limits": LIMITS | {"epsilon": 0.03}}},
        {"guard": {"ok": True, "limits": LIMITS | {"more": 1.0}}},
    ],
)
def test_an_aligner_without_a_verdict_is_taken_only_on_the_callers_word(report: dict[str, Any]) -> None:
    """Figures alone are no verdict, nor is one under looser limits, or one that does not say against what."""
    with pytest.raises(FailedPreconditionError) as caught:
        _check(report)
    assert caught.value.reason == "UNVERIFIED_ALIGNER"
    assert _check(report, allow_unverified=True) == Admission(against=None, unverified=True)


def test_an_aligner_that_breaks_the_guard_is_refused_with_its_figures() -> None:
    """That it was judged is no excuse; only a stated reason is."""
    with pytest.raises(
        FailedPreconditionError, match=r"hubness growth: \+0.150, must be at most \+0.020; and more"
    ) as no:
        _check(BROKEN, allow_unverified=True)
    assert no.value.reason == "GUARD_BROKEN"
    assert no.value.metadata["figures"].startswith("hubness growth")
    assert _check(BROKEN, override_reason="the editors decided so") == Admission(against=None)


def test_a_verdict_under_stricter_limits_holds_for_looser_ones() -> None:
    """Whoever falls by 0.02 at most falls by 0.1 at most; the other way round it says nothing."""
    _check(PASSED, allowed=GuardTerms(epsilon=0.1, structure_least=0.3, hubness_growth=0.1))
    for stricter in ({"epsilon": 0.01}, {"structure_least": 0.6}, {"hubness_growth": 0.0}):
        with pytest.raises(FailedPreconditionError) as caught:
            _check(PASSED, allowed=GuardTerms(**stricter))
        assert caught.value.reason == "UNVERIFIED_ALIGNER"


@pytest.mark.parametrize("guard", [{}, {"ok": "yes"}, {"ok": 1}, {"ok": False, "reasons": "many"}])
def test_a_verdict_that_is_not_one_is_a_broken_guard(guard: dict[str, Any]) -> None:
    """An artefact may come from anywhere: nothing but true is taken for it."""
    with pytest.raises(FailedPreconditionError) as caught:
        _check({"against": "", "guard": guard | {"limits": LIMITS}})
    assert caught.value.reason == "GUARD_BROKEN"


def test_what_is_told_of_a_broken_guard_is_bounded() -> None:
    """A megabyte of reasons does not travel in an error."""
    with pytest.raises(FailedPreconditionError) as caught:
        _check({"against": "", "guard": {"ok": False, "reasons": ["x" * 10_000] * 100, "limits": LIMITS}})
    assert len(caught.value.metadata["figures"]) < 2_000


def test_a_reason_over_the_limit_is_refused() -> None:
    """It is stored with the event."""
    with pytest.raises(InvalidArgumentError, match="override_reason has 1025 bytes; the limit is 1024"):
        PromotionTerms(override_reason="x" * 1025)
