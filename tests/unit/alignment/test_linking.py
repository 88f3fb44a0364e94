"""Links proposed over a collection: from its items without a pair key alone, each refusal with its reason."""

from __future__ import annotations

import pytest

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.link_messages import link_messages, link_terms
from isthmus.alignment.linking import CollectionLinks
from isthmus.core import Modality
from isthmus.core.linking import LinkMode, LinkTerms
from isthmus.evaluation import ModalityItems
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, ResourceExhaustedError
from isthmus.runtime.base.limits import LINKS_MESSAGE_MAX_COUNT
from isthmus.v1 import linking_pb2
from tests.unit.alignment.conftest import OTHER_SPACE, MakeItems, MemoryReader, fit, started


def without_keys(items: dict[Modality, ModalityItems], *, first: int) -> dict[Modality, ModalityItems]:
    """Take the pair key from the first things."""

    def stripped(found: ModalityItems) -> ModalityItems:
        keys = [key if int(str(key).rpartition("-")[2]) >= first else "" for key in found.pair_keys]
        return ModalityItems(ids=found.ids, pair_keys=keys, vectors=found.vectors)

    return {modality: stripped(found) for modality, found in items.items()}


async def proposed(
    config: AlignmentConfig, reader: MemoryReader, *, reference: str | None = "mine", terms: LinkTerms | None = None
) -> CollectionLinks:
    """Fit `mine` to the pairs, and propose."""
    engine = await started(config, reader)
    await fit(engine, method="identity")
    return await engine.linker.propose(
        "acme", "photos", min_revision=5, reference=reference, terms=terms or LinkTerms()
    )


async def test_items_without_a_pair_key_are_linked_and_no_others(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """100 of 400 photos and their captions have no key; whoever has one is left alone. 96 links are right."""
    reader = MemoryReader(without_keys(make_items(captions=1), first=100))
    links = await proposed(config, reader)
    assert (links.image_count, links.text_count, links.revision) == (100, 100, 7)
    assert links.aligner.startswith("mine@")
    assert {int(name.rpartition("-")[2]) for name in [*links.image_ids, *links.text_ids]} == set(range(100))
    right = sum(
        image.rpartition("-")[2] == text.rpartition("-")[2]
        for image, text in zip(links.image_ids, links.text_ids, strict=True)
    )
    assert right >= 85
    assert reader.asked[-1] == ("photos", 5, False)


async def test_links_do_not_depend_on_the_order_of_the_stream(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Items that come the other way round are linked alike, with the same probabilities."""
    items = without_keys(make_items(), first=60)
    turned = {
        modality: ModalityItems(ids=found.ids[::-1], pair_keys=found.pair_keys[::-1], vectors=found.vectors[::-1])
        for modality, found in items.items()
    }
    reader = MemoryReader(items)
    engine = await started(config, reader)
    await fit(engine, method="identity")
    terms = LinkTerms(mode=LinkMode.BEST_IMAGE)
    first = await engine.linker.propose("acme", "photos", min_revision=0, reference="mine", terms=terms)
    reader.items = turned
    second = await engine.linker.propose("acme", "photos", min_revision=0, reference="mine", terms=terms)
    assert (first.image_ids, first.text_ids) == (second.image_ids, second.text_ids)
    assert first.found.probabilities == pytest.approx(second.found.probabilities)


async def test_the_active_aligner_is_used_unless_another_is_named(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """An aligner without a calibration of pairs cannot say what a score means: NOT_CALIBRATED names the command."""
    reader = MemoryReader(without_keys(make_items(), first=60))
    engine = await started(config, reader)
    aligner = (await fit(engine, method="center"))[-1].artefact
    reader.aligner = aligner
    assert aligner is not None
    links = await engine.linker.propose("acme", "photos", min_revision=0, reference=None, terms=LinkTerms())
    assert links.aligner == aligner.space
    reader.aligner = None
    with pytest.raises(FailedPreconditionError, match="isthmus align fit") as caught:
        await engine.linker.propose("acme", "photos", min_revision=0, reference=None, terms=LinkTerms())
    assert caught.value.reason == "NOT_CALIBRATED"


async def test_a_collection_with_nothing_to_link_is_refused_with_both_counts(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """All texts have a pair key: there is no link to propose, whatever the aligner."""
    items = make_items()
    mixed = without_keys(items, first=60) | {Modality.TEXT: items[Modality.TEXT]}
    with pytest.raises(FailedPreconditionError, match="60 images and 0 texts without a pair key") as caught:
        await proposed(config, MemoryReader(mixed))
    assert caught.value.reason == "NOTHING_TO_LINK"
    assert caught.value.metadata == {"image_count": "60", "text_count": "0"}


async def test_two_raw_spaces_without_an_aligner_are_refused(config: AlignmentConfig, make_items: MakeItems) -> None:
    """NO_ALIGNER, as for a search; an aligner of other spaces is refused too."""
    reader = MemoryReader(without_keys(make_items(), first=60))
    engine = await started(config, reader)
    await fit(engine, method="identity")
    reader.text_space = OTHER_SPACE
    for reference, reason in ((None, "NO_ALIGNER"), ("mine", "ALIGNER_SPACES_MISMATCH")):
        with pytest.raises(FailedPreconditionError) as caught:
            await engine.linker.propose("acme", "photos", min_revision=0, reference=reference, terms=LinkTerms())
        assert caught.value.reason == reason


async def test_only_items_without_a_pair_key_count_against_the_limit(
    config: AlignmentConfig, make_items: MakeItems
) -> None:
    """1,200 items of which 180 have no key: a limit of 180 holds them, one of 179 does not."""
    reader = MemoryReader(without_keys(make_items(), first=60))
    fitting = await started(config, reader)
    await fit(fitting, method="identity")
    for limit in (180, 179):
        engine = await started(config.model_copy(update={"job_max_items_count": limit}), reader)
        linking = engine.linker.propose("acme", "photos", min_revision=0, reference="mine", terms=LinkTerms())
        if limit == 180:
            assert (await linking).text_count == 120
        else:
            with pytest.raises(ResourceExhaustedError, match="more than 179 items"):
                await linking


async def test_links_travel_in_messages_of_bounded_size(config: AlignmentConfig, make_items: MakeItems) -> None:
    """More than 1,000 links of 1,050 items are a summary and two messages; a maximum keeps the most probable ones."""
    reader = MemoryReader(without_keys(make_items(photos=1_250, captions=1), first=1_050))
    links = await proposed(config, reader)
    summary, *rest = link_messages(links, max_count=0)
    count = len(links.image_ids)
    assert [len(message.links) for message in rest] == [LINKS_MESSAGE_MAX_COUNT, count - LINKS_MESSAGE_MAX_COUNT]
    assert (summary.summary.count, summary.summary.HasField("accept_above")) == (count, False)
    probabilities = [link.probability for message in rest for link in message.links]
    assert probabilities == sorted(probabilities, reverse=True)
    first, few = link_messages(links, max_count=3)
    assert first.summary.count == 3
    assert [link.probability for link in few.links] == probabilities[:3]


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (linking_pb2.LinkTerms(false_accept_rate=0.0), "terms.false_accept_rate"),
        (linking_pb2.LinkTerms(false_accept_rate=1.0), "terms.false_accept_rate"),
        (linking_pb2.LinkTerms(expected_share=float("nan")), "terms.expected_share"),
        (linking_pb2.LinkTerms(mode=9), "terms.mode"),  # type: ignore[arg-type]  # what a newer client may send
    ],
)
def test_terms_out_of_bounds_are_refused_by_name(terms: linking_pb2.LinkTerms, field: str) -> None:
    """Rates and shares are above 0 and below 1, and a mode is one that this server knows."""
    with pytest.raises(InvalidArgumentError) as caught:
        link_terms(terms)
    assert caught.value.metadata["field"] == field


def test_unset_terms_mean_the_defaults() -> None:
    """One-to-one, no threshold, nine of ten items expected to have a match."""
    assert link_terms(linking_pb2.LinkTerms()) == LinkTerms()
