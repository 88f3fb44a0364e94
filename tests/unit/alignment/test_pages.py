"""The page that a job draws, where it is asked for: of what the collection is served with, and of what would be."""

from __future__ import annotations

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.measuring import MeasureRequest
from isthmus.core.aligners import FitOptions
from tests.unit.alignment.conftest import MakeItems, MemoryReader, fit, started

_PAGE_MAX_BYTES = 2 * 1024 * 1024


def _whole(page: str) -> bool:
    return page.startswith("<!doctype html>") and page.rstrip().endswith("</html>") and "of photos</title>" in page


async def test_a_measurement_is_drawn_raw_or_through_an_aligner(config: AlignmentConfig, make_items: MakeItems) -> None:
    """The page says which of both; without asking there is none."""
    engine = await started(config, MemoryReader(make_items()))
    await fit(engine)

    async def page(reference: str | None, *, subject: str) -> str:
        request = MeasureRequest(seed=0, sample_count=100, compare_distances=False, page_subject=subject)
        found = await engine.judge.measure("acme", "photos", min_revision=0, reference=reference, request=request)
        return found.page

    assert await page(None, subject="") == ""
    raw = await page(None, subject="photos")
    assert _whole(raw)
    assert "As the encoders made them. The sheet" in raw
    assert "As aligned by “mine”. The sheet" in await page("mine", subject="photos")


async def test_a_verification_is_drawn_before_and_after(config: AlignmentConfig, make_items: MakeItems) -> None:
    """What is there today is the active aligner's, as it is for the guard."""
    reader = MemoryReader(make_items())
    engine = await started(config, reader)
    reader.aligner = (await fit(engine, aligner_id="old"))[-1].artefact
    await fit(engine, method="cca", aligner_id="new", request_id="r2")
    found, _ = await engine.judge.verify("acme", "photos", "new", min_revision=0, seed=0, page=True)
    assert _whole(found.page)
    assert "As aligned by “old”. The sheet" in found.page
    assert "After “new”" in found.page
    assert found.found.against.startswith("old@")
    assert (await engine.judge.verify("acme", "photos", "new", min_revision=0, seed=0))[0].page == ""


async def test_a_comparison_of_all_methods_fits_into_a_message(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Every method on one page, below the size that the protos state: measured 0.18 MiB."""
    engine = await started(config, MemoryReader(make_items(captions=5)))
    found, _ = await engine.judge.compare("photos", (), min_revision=0, options=FitOptions(), page=True)
    assert _whole(found.page)
    assert all(f"<b>{one.method}</b>" in found.page for one in found.judged)
    assert all(f"<b>{method}</b>" in found.page for method, _ in found.refused)
    print(f"page: {len(found.page.encode()) / 1024**2:.2f} MiB")
    assert len(found.page.encode()) < _PAGE_MAX_BYTES
