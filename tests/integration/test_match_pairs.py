"""Does this picture belong to this text? Given pairs and a collection's own, through the gateway and real services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core.modality import Modality
from isthmus.runtime.base.limits import AUDIT_MAX_COUNT, MATCH_MAX_COUNT
from isthmus.runtime.base.not_calibrated import CALIBRATE_COMMAND
from isthmus.v1 import common_pb2, gateway_service_pb2, matching_pb2
from tests.integration.gateway_calls import create, item_reasons, refusal, request, search, spaced, upsert
from tests.unit.gateway.dummy_encoder import DummyEncoder
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh, png

SPACE = "dual@00000000000000aa"
COUNT, WRONG = 400, 20
MATCH, UNDECIDED, NO_MATCH = (
    matching_pb2.MATCH_DECISION_MATCH,
    matching_pb2.MATCH_DECISION_UNDECIDED,
    matching_pb2.MATCH_DECISION_NO_MATCH,
)
Pair = gateway_service_pb2.PairToMatch


def _vectors() -> dict[Modality, NDArray[np.float64]]:
    """Return 400 pairs that share a meaning, with noise of each side."""
    rng = np.random.default_rng(8)
    meaning = rng.normal(size=(COUNT, 16))
    return {modality: meaning + 0.5 * rng.normal(size=meaning.shape) for modality in Modality}


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A collection of one raw space with 400 pairs; the keys of the last 20 texts are rolled by one."""
    image, text = (DummyEncoder(modality, space=SPACE) for modality in (Modality.IMAGE, Modality.TEXT))
    vectors = _vectors()
    async with gateway_mesh(data_dir=tmp_path, image=image, text=text) as running:
        await create(running, "things")
        right = COUNT - WRONG
        key_of = [*range(right), *(right + (n + 1) % WRONG for n in range(WRONG))]
        images = [
            gateway_service_pb2.UpsertItem(
                id=f"i{n}",
                pair_key=f"p{n}",
                vector=spaced(list(row), space=SPACE, modality=common_pb2.MODALITY_IMAGE),
            )
            for n, row in enumerate(vectors[Modality.IMAGE])
        ]
        texts = [
            gateway_service_pb2.UpsertItem(id=f"t{n}", pair_key=f"p{key_of[n]}", vector=spaced(list(row), space=SPACE))
            for n, row in enumerate(vectors[Modality.TEXT])
        ]
        (*_, ack) = await upsert(running, request("r1", images), request("r2", texts))
        await search(running, item_id="t0", min_revision=ack.revision)
        yield running


async def _calibrate(mesh: GatewayMesh) -> str:
    """Fit an aligner that changes nothing but has a calibration, promote it, return its name."""
    fit = gateway_service_pb2.FitAlignerRequest(
        collection="things", aligner_id="as-it-is", method="identity", request_id="fit"
    )
    aligner = ""
    async for step in mesh.stub.FitAligner(fit, timeout=120):
        aligner = step.aligner.aligner
    promoted = await mesh.stub.PromoteAligner(
        gateway_service_pb2.PromoteAlignerRequest(
            collection="things",
            aligner=aligner,
            allow_unverified=True,
            override_reason="it changes no vector",
            request_id="promote",
        ),
        timeout=30,
    )
    await search(mesh, item_id="t0", min_revision=promoted.collection.revision)
    return aligner


async def _match(mesh: GatewayMesh, pairs: Sequence[Pair], **more: Any) -> gateway_service_pb2.MatchPairsResponse:
    message = gateway_service_pb2.MatchPairsRequest(**{"collection": "things", "pairs": pairs, **more})
    return await mesh.stub.MatchPairs(message, timeout=30)


async def _audit(mesh: GatewayMesh, **more: Any) -> list[gateway_service_pb2.AuditPairsResponse]:
    message = gateway_service_pb2.AuditPairsRequest(**{"collection": "things", **more})
    return [part async for part in mesh.stub.AuditPairs(message, timeout=120)]


async def test_right_pairs_are_told_from_wrong_ones(mesh: GatewayMesh) -> None:
    """Of 200 pairs that were stored so most match; of 200 mixed-up ones about as many as the rate says.

    Ids, and vectors of the same numbers, are judged alike.
    """
    aligner = await _calibrate(mesh)
    right = await _match(mesh, [Pair(image_id=f"i{n}", text_id=f"t{n}") for n in range(200)])
    wrong = await _match(mesh, [Pair(image_id=f"i{n}", text_id=f"t{n + 1}") for n in range(200)])
    assert sum(found.decision == MATCH for found in right.matches) >= 180
    assert sum(found.decision == MATCH for found in wrong.matches) <= 8
    # The twentieth of the keys that are mixed up are in the calibration too: it refuses outright with care, 61 here.
    assert sum(found.decision == NO_MATCH for found in wrong.matches) >= 40
    assert not any(found.decision == NO_MATCH for found in right.matches)
    assert np.mean([found.probability for found in right.matches]) >= 0.9
    assert np.mean([found.probability for found in wrong.matches]) <= 0.15
    assert [found.index for found in right.matches] == list(range(200))
    assert (right.aligner, right.space, right.calibration) == (
        aligner,
        aligner,
        common_pb2.CALIBRATION_SOURCE_FITTED,
    )
    assert right.revision >= 4
    assert right.timings.total_micros > 0
    for found in [*right.matches, *wrong.matches]:
        wanted = (
            MATCH if found.score > right.accept_above else NO_MATCH if found.score < right.refuse_below else UNDECIDED
        )
        assert found.decision == wanted
    vectors = _vectors()
    given = await _match(
        mesh,
        [
            Pair(
                image_vector=spaced(list(vectors[Modality.IMAGE][3]), space=SPACE, modality=common_pb2.MODALITY_IMAGE),
                text_vector=spaced(list(vectors[Modality.TEXT][3]), space=SPACE),
            )
        ],
    )
    assert given.matches[0].score == pytest.approx(right.matches[3].score, abs=1e-6)


async def test_terms_choose_rate_impostor_and_prior(mesh: GatewayMesh) -> None:
    """A lower rate and a harder impostor accept less; a prior moves probabilities and no decision."""
    await _calibrate(mesh)
    pairs = [Pair(image_id=f"i{n}", text_id=f"t{n}") for n in range(200)]

    async def accepted(**terms: Any) -> gateway_service_pb2.MatchPairsResponse:
        return await _match(mesh, pairs, terms=matching_pb2.MatchTerms(**terms))

    loose, strict = await accepted(false_accept_rate=0.1), await accepted(false_accept_rate=0.002)
    hard = await accepted(false_accept_rate=0.1, impostor=matching_pb2.PAIR_IMPOSTOR_BEST)
    likely = await accepted(false_accept_rate=0.1, prior=0.99)
    assert loose.accept_above < strict.accept_above
    assert loose.accept_above < hard.accept_above
    assert [found.decision for found in likely.matches] == [found.decision for found in loose.matches]
    assert all(a.probability >= b.probability for a, b in zip(likely.matches, loose.matches, strict=True))
    assert likely.matches[0].probability > loose.matches[0].probability


async def test_a_bad_pair_never_fails_its_neighbours(mesh: GatewayMesh) -> None:
    """Broken image, empty text, strange ids, foreign space, a side missing: each is reported, the good one judged."""
    await _calibrate(mesh)
    foreign = spaced([1.0] * 16, space="other@00000000000000bb", modality=common_pb2.MODALITY_IMAGE)
    short = spaced([1.0] * 8, space=SPACE, modality=common_pb2.MODALITY_IMAGE)
    pairs = [
        Pair(image=b"not an image", text="a text"),
        Pair(image=png(1), text="a text"),
        Pair(image=png(1), text="  "),
        Pair(image_id="nobody", text="a text"),
        Pair(image_id="t1", text="a text"),
        Pair(image_vector=foreign, text="a text"),
        Pair(image_vector=short, text="a text"),
        Pair(text="a text"),
        Pair(image_vector=spaced([1.0] * 16, space=SPACE), text="a text"),
        Pair(image_id="i1", text_id="t1"),
        Pair(image=png(1), text="one two three four five six seven eight nine ten"),
    ]
    answer = await _match(mesh, pairs)
    assert item_reasons(answer.errors) == {
        0: "IMAGE_FORMAT_UNSUPPORTED",
        2: "EMPTY_TEXT",
        3: "ITEM_NOT_FOUND",
        4: "INVALID_FIELD",
        5: "SPACE_MISMATCH",
        6: "INVALID_VECTOR",
        7: "EMPTY_INPUT",
        8: "INVALID_FIELD",
    }
    assert [found.index for found in answer.matches] == [1, 9, 10]
    assert list(answer.truncated_indexes) == [10]
    refused = await _match(mesh, pairs[-2:], truncation=common_pb2.TRUNCATION_REFUSE)
    assert item_reasons(refused.errors) == {1: "TEXT_TOO_LONG"}
    assert [found.index for found in refused.matches] == [0]


async def test_without_a_fitted_calibration_the_answer_says_what_to_do(mesh: GatewayMesh) -> None:
    """Nothing says what a score means: the refusal names the command that mends it. An audit needs none."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _match(mesh, [Pair(image_id="i1", text_id="t1")])
    wanted = (grpc.StatusCode.FAILED_PRECONDITION, "NOT_CALIBRATED", {"command": CALIBRATE_COMMAND})
    assert refusal(caught.value) == wanted
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _audit(mesh, terms=matching_pb2.MatchTerms(false_accept_rate=0.05))
    assert refusal(caught.value) == wanted
    summary, listed = await _audit(mesh)
    assert not summary.summary.decided
    assert summary.summary.match_count == 0
    assert {pair.decision for pair in listed.pairs} == {matching_pb2.MATCH_DECISION_UNSPECIFIED}
    assert not any(pair.HasField("match_probability") for pair in listed.pairs)


async def test_an_audit_lists_the_mixed_up_pairs_first(mesh: GatewayMesh) -> None:
    """Of the 20 worst of 400 pairs at least 18 are mixed up, and it tells how many are: .05, give or take."""
    aligner = await _calibrate(mesh)
    first, *rest = await _audit(mesh, top_count=COUNT, terms=matching_pb2.MatchTerms(false_accept_rate=0.05))
    summary = first.summary
    pairs = [pair for part in rest for pair in part.pairs]
    assert (summary.pair_count, summary.image_count, summary.text_count) == (COUNT, COUNT, COUNT)
    assert (summary.aligner, summary.decided) == (aligner, True)
    assert abs(summary.wrong_share - WRONG / COUNT) <= 0.02
    assert summary.match_count + summary.undecided_count + summary.no_match_count == COUNT
    assert summary.match_count >= 0.9 * (COUNT - WRONG)
    assert len(pairs) == COUNT
    assert sum(pair.image_id[1:] != pair.text_id[1:] for pair in pairs[:WRONG]) >= 18
    assert [pair.log_odds for pair in pairs] == sorted(pair.log_odds for pair in pairs)
    worst = pairs[0]
    assert (worst.pair_key[1:], worst.probability < 0.1) == (worst.image_id[1:], True)
    # A mixed-up text is nearest to the image that it was made for.
    assert sum(pair.nearest_image_id[1:] == pair.text_id[1:] for pair in pairs[:WRONG]) >= 15
    # What an audit decides is what a match decides.
    matched = await _match(
        mesh,
        [Pair(image_id=pair.image_id, text_id=pair.text_id) for pair in pairs[:200]],
        terms=matching_pb2.MatchTerms(false_accept_rate=0.05),
    )
    assert [found.decision for found in matched.matches] == [pair.decision for pair in pairs[:200]]
    assert [found.probability for found in matched.matches] == pytest.approx(
        [pair.match_probability for pair in pairs[:200]], abs=1e-6
    )


async def test_limits_are_met_at_the_door(mesh: GatewayMesh) -> None:
    """256 pairs are judged and 257 refused; so are none, rates that are no shares, and lists without an end."""
    await _calibrate(mesh)
    one = Pair(image_id="i1", text_id="t1")
    assert len((await _match(mesh, [one] * MATCH_MAX_COUNT)).matches) == MATCH_MAX_COUNT
    refused: list[tuple[list[Pair], dict[str, Any], str]] = [
        ([one] * (MATCH_MAX_COUNT + 1), {}, "BATCH_TOO_LARGE"),
        ([], {}, "EMPTY_INPUT"),
        ([one], {"false_accept_rate": 0.0}, "INVALID_FIELD"),
        ([one], {"false_accept_rate": float("nan")}, "INVALID_FIELD"),
        ([one], {"prior": 1.0}, "INVALID_FIELD"),
        ([one], {"impostor": 9}, "UNKNOWN_ENUM_VALUE"),
        ([one], {"false_accept_rate": 0.0001}, "NOT_ENOUGH_PAIRS"),
    ]
    for pairs, terms, reason in refused:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _match(mesh, pairs, terms=matching_pb2.MatchTerms(**terms))
        assert refusal(caught.value)[1] == reason
    (only,) = await _audit(mesh, top_count=0)
    assert only.summary.pair_count == COUNT
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _audit(mesh, top_count=AUDIT_MAX_COUNT + 1)
    assert refusal(caught.value)[1] == "LIMIT_EXCEEDED"


async def test_a_collection_without_pairs_cannot_be_audited(mesh: GatewayMesh) -> None:
    """Nothing to audit is said as such."""
    await create(mesh, "bare")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _audit(mesh, collection="bare")
    assert refusal(caught.value)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_ENOUGH_PAIRS")
