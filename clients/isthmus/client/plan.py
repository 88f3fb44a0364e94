"""What every call of the API sends and how its answers are read: all of the client that does not wait for a network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from isthmus.client import decode
from isthmus.client.channel import new_request_id
from isthmus.client.chunking import Chunk, batches, chunks
from isthmus.client.config import ClientConfig
from isthmus.client.convert import MODALITIES, fit_options_message, image_bytes, spaced_vector_message
from isthmus.client.inputs import AnyModality, FitOptions, GuardLimits, ImageLike, Input, SpacedVector, Truncation
from isthmus.client.results import (
    Aligner,
    Collection,
    Comparison,
    DeleteResult,
    EmbedResult,
    EvaluationReport,
    GapReport,
    GetResult,
    SearchResult,
    Status,
    VerificationReport,
)
from isthmus.client.revisions import Revisions
from isthmus.v1 import common_pb2, gateway_service_pb2

__all__ = ["Plan", "Planner", "truncation_number"]

Result = TypeVar("Result")

_TRUNCATIONS: Final = {"flag": common_pb2.TRUNCATION_FLAG, "refuse": common_pb2.TRUNCATION_REFUSE}
_IDS_MAX_COUNT: Final = 1000
"""Ids in one delete or get."""
_LARGE_ITEMS_MAX_COUNT: Final = 128
"""Ids in one get with embeddings or thumbnails: at their limits, 8 MiB of thumbnails and 4 MiB of vectors."""


@dataclass(frozen=True, slots=True)
class Plan(Generic[Result]):
    """One call of the API.

    Attributes:
        method: Name of the method of GatewayService.
        requests: The messages, made one by one as they are sent.
        decode: Makes the result of the answers, in order.
        timeout_s: Deadline of each message when the caller names none.
        reads_files: True when making a message may read files or compress an image.
    """

    method: str
    requests: Iterable[Message]
    decode: Callable[[Sequence[Any]], Result]
    timeout_s: float
    reads_files: bool = False


def truncation_number(truncation: Truncation) -> common_pb2.Truncation.ValueType:
    """Return the wire's number for what to do with a long text.

    Raises:
        ValueError: it is neither flag nor refuse.
    """
    if truncation not in _TRUNCATIONS:
        msg = "truncation must be flag or refuse"
        raise ValueError(msg)
    return _TRUNCATIONS[truncation]


def _modality_number(modality: AnyModality) -> common_pb2.Modality.ValueType:
    if modality == "any":
        return common_pb2.MODALITY_UNSPECIFIED
    if modality not in MODALITIES:
        msg = "modality must be image, text or any"
        raise ValueError(msg)
    return MODALITIES[modality]


def _input_message(given: Input) -> common_pb2.Input:
    if given.image is not None:
        return common_pb2.Input(image=image_bytes(given.image))
    return common_pb2.Input(text=given.text or "")


class Planner:
    """Plans the calls of one client.

    Args:
        config: Its configuration.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self.revisions = Revisions()

    def embed(
        self,
        *,
        images: Iterable[ImageLike],
        texts: Iterable[str],
        inputs: Iterable[Input],
        truncation: Truncation,
        aligner: str,
    ) -> Plan[EmbedResult]:
        """Plan an embed; raise ValueError when `truncation` is unknown or a str stands where a list of them belongs."""
        if isinstance(texts, str) or isinstance(images, (str, bytes)):
            msg = "images and texts take lists: embed(texts=[text])"
            raise ValueError(msg)  # noqa: TRY004 - every wrong argument of the client is a ValueError
        number = truncation_number(truncation)
        entries = itertools.chain(
            (common_pb2.Input(image=image_bytes(image)) for image in images),
            (common_pb2.Input(text=text) for text in texts),
            map(_input_message, inputs),
        )
        sent: list[Chunk[common_pb2.Input]] = []

        def requests() -> Iterator[Message]:
            for chunk in chunks(entries, limits=self.config.limits):
                # Only positions and refusals are kept: the bytes of a sent message are free to go.
                sent.append(replace(chunk, entries=()))
                if chunk.entries:
                    yield gateway_service_pb2.EmbedRequest(inputs=chunk.entries, truncation=number, aligner=aligner)

        return Plan(
            method="Embed",
            requests=requests(),
            decode=lambda answers: decode.embed_result(list(itertools.zip_longest(sent, answers))),
            timeout_s=self.config.timeouts.embed_s,
            # Texts alone take no time to pack: a thread and back for each call would cost more than the call.
            reads_files=not (_is_empty(images) and _is_empty(inputs)),
        )

    def delete(self, collection: str, ids: Sequence[str], *, request_id: str | None) -> Plan[DeleteResult]:
        """Plan a delete."""
        base = request_id or new_request_id()
        runs = list(batches(ids, size=_IDS_MAX_COUNT))

        def read(answers: Sequence[gateway_service_pb2.DeleteItemsResponse]) -> DeleteResult:
            result = decode.delete_result(answers)
            self.revisions.wrote(collection, result.revision)
            return result

        return self._plan(
            "DeleteItems",
            (
                gateway_service_pb2.DeleteItemsRequest(
                    collection=collection,
                    ids=run,
                    # Each message is a mutation of its own.
                    request_id=base if len(runs) == 1 else f"{base}-{number}",
                )
                for number, run in enumerate(runs)
            ),
            read,
        )

    def get_items(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        include_embeddings: bool,
        include_thumbnails: bool,
        min_revision: int | None,
    ) -> Plan[GetResult]:
        """Plan a get."""
        large = include_embeddings or include_thumbnails
        return self._plan(
            "GetItems",
            (
                gateway_service_pb2.GetItemsRequest(
                    collection=collection,
                    ids=run,
                    include_embeddings=include_embeddings,
                    include_thumbnails=include_thumbnails,
                    min_revision=self.revisions.least(collection, min_revision),
                )
                for run in batches(ids, size=_LARGE_ITEMS_MAX_COUNT if large else _IDS_MAX_COUNT)
            ),
            decode.get_result,
        )

    def search(
        self,
        collection: str,
        *,
        text: str | None,
        image: ImageLike | None,
        vector: SpacedVector | None,
        item_id: str | None,
        modality: AnyModality,
        top_k: int,
        min_revision: int | None,
    ) -> Plan[SearchResult]:
        """Plan a search; raise ValueError when there is not exactly one query."""
        given = {"text": text, "image": image, "vector": vector, "item_id": item_id}
        names = [name for name, value in given.items() if value is not None]
        if len(names) != 1:
            msg = f"a search takes exactly one of {', '.join(given)}; {len(names)} are given"
            raise ValueError(msg)
        if top_k < 1:
            msg = f"top_k is {top_k}; the least is 1"
            raise ValueError(msg)
        number, revision = _modality_number(modality), self.revisions.least(collection, min_revision)

        def requests() -> Iterator[Message]:
            request = gateway_service_pb2.SearchItemsRequest(
                collection=collection, top_k=top_k, modality=number, min_revision=revision
            )
            if text is not None:
                request.text = text
            elif image is not None:
                request.image = image_bytes(image)
            elif vector is not None:
                request.vector.CopyFrom(spaced_vector_message(vector))
            elif item_id is not None:
                request.item_id = item_id
            yield request

        return Plan(
            method="SearchItems",
            requests=requests(),
            decode=lambda answers: decode.search_result(answers[0]),
            timeout_s=self.config.timeouts.call_s,
            reads_files=image is not None,
        )

    def create_collection(
        self,
        name: str,
        *,
        image_space: str,
        text_space: str,
        image_dimension: int,
        text_dimension: int,
        aligner: str,
        store_thumbnails: bool,
        guard: GuardLimits | None,
        request_id: str | None,
    ) -> Plan[Collection]:
        """Plan the creation of a collection."""
        request = gateway_service_pb2.CreateCollectionRequest(
            name=name,
            image_space=image_space,
            text_space=text_space,
            image_dimension=image_dimension,
            text_dimension=text_dimension,
            aligner=aligner,
            store_thumbnails=store_thumbnails,
            guard=None if guard is None else common_pb2.GuardLimits(**asdict(guard)),
            request_id=request_id or new_request_id(),
        )

        def read(answers: Sequence[gateway_service_pb2.CreateCollectionResponse]) -> Collection:
            self.revisions.forget(name)
            return self._wrote(decode.collection(answers[0].collection))

        return self._plan("CreateCollection", [request], read)

    def get_collection(self, name: str) -> Plan[Collection]:
        """Plan the look-up of a collection."""
        return self._plan(
            "GetCollection",
            [gateway_service_pb2.GetCollectionRequest(name=name)],
            lambda answers: decode.collection(answers[0].collection),
        )

    def list_collections(self) -> Plan[tuple[Collection, ...]]:
        """Plan the list of collections."""
        return self._plan(
            "ListCollections",
            [gateway_service_pb2.ListCollectionsRequest()],
            lambda answers: tuple(decode.collection(found) for found in answers[0].collections),
        )

    def delete_collection(self, name: str, *, request_id: str | None) -> Plan[None]:
        """Plan the end of a collection."""
        request = gateway_service_pb2.DeleteCollectionRequest(name=name, request_id=request_id or new_request_id())
        return self._plan("DeleteCollection", [request], lambda _: self.revisions.forget(name))

    def evaluate(self, collection: str, *, through_search: bool, min_revision: int | None) -> Plan[EvaluationReport]:
        """Plan an evaluation."""
        request = gateway_service_pb2.EvaluateRequest(
            collection=collection,
            through_search=through_search,
            min_revision=self.revisions.least(collection, min_revision),
        )
        return Plan(
            method="Evaluate",
            requests=[request],
            decode=lambda answers: decode.evaluation_report(answers[0].report),
            timeout_s=self.config.timeouts.evaluate_s,
        )

    def measure_gap(
        self,
        collection: str,
        *,
        aligner: str,
        seed: int,
        sample_count: int,
        compare_distances: bool,
        min_revision: int | None,
    ) -> Plan[GapReport]:
        """Plan a measurement of the gap."""
        request = gateway_service_pb2.MeasureGapRequest(
            collection=collection,
            min_revision=self.revisions.least(collection, min_revision),
            seed=seed,
            sample_count=sample_count,
            aligner=aligner,
            compare_distances=compare_distances,
        )
        return Plan(
            method="MeasureGap",
            requests=[request],
            decode=lambda answers: decode.gap_report(answers[0].report),
            timeout_s=self.config.timeouts.evaluate_s,
        )

    def verify_aligner(
        self, collection: str, aligner: str, *, seed: int, min_revision: int | None
    ) -> Plan[VerificationReport]:
        """Plan a verification."""
        request = gateway_service_pb2.VerifyAlignerRequest(
            collection=collection,
            aligner=aligner,
            min_revision=self.revisions.least(collection, min_revision),
            seed=seed,
        )
        return Plan(
            method="VerifyAligner",
            requests=[request],
            decode=lambda answers: decode.verification_report(answers[0].report, revision=answers[0].revision),
            timeout_s=self.config.timeouts.evaluate_s,
        )

    def compare_aligners(
        self, collection: str, methods: Sequence[str], *, hubness: bool, seed: int, min_revision: int | None
    ) -> Plan[Comparison]:
        """Plan a comparison of methods."""
        request = gateway_service_pb2.CompareAlignersRequest(
            collection=collection,
            methods=methods,
            min_revision=self.revisions.least(collection, min_revision),
            seed=seed,
            hubness=hubness,
        )
        return Plan(
            method="CompareAligners",
            requests=[request],
            decode=lambda answers: decode.comparison(answers[0]),
            timeout_s=self.config.timeouts.evaluate_s,
        )

    def list_aligners(self) -> Plan[tuple[Aligner, ...]]:
        """Plan the list of aligners."""
        return self._plan(
            "ListAligners",
            [gateway_service_pb2.ListAlignersRequest()],
            lambda answers: tuple(decode.aligner(found) for found in answers[0].aligners),
        )

    def get_aligner(self, aligner: str) -> Plan[Aligner]:
        """Plan the look-up of an aligner."""
        return self._plan(
            "GetAligner",
            [gateway_service_pb2.GetAlignerRequest(aligner=aligner)],
            lambda answers: decode.aligner(answers[0].aligner),
        )

    def export_aligner(self, aligner: str) -> Plan[tuple[Aligner, bytes, bytes]]:
        """Plan the export of an aligner: what it is, and its manifest and tensors as files hold them."""

        def read(answers: Sequence[gateway_service_pb2.GetAlignerResponse]) -> tuple[Aligner, bytes, bytes]:
            (answer,) = answers
            return decode.aligner(answer.aligner), answer.artefact.manifest, answer.artefact.tensors

        request = gateway_service_pb2.GetAlignerRequest(aligner=aligner, include_artefact=True)
        return self._plan("GetAligner", [request], read)

    def import_aligner(self, manifest: bytes, tensors: bytes, *, request_id: str | None) -> Plan[Aligner]:
        """Plan the import of an aligner."""
        request = gateway_service_pb2.ImportAlignerRequest(
            artefact=common_pb2.AlignerArtefact(manifest=manifest, tensors=tensors),
            request_id=request_id or new_request_id(),
        )
        return self._plan("ImportAligner", [request], lambda answers: decode.aligner(answers[0].aligner))

    def promote_aligner(
        self, collection: str, aligner: str, *, allow_unverified: bool, override_reason: str, request_id: str | None
    ) -> Plan[Collection]:
        """Plan a promotion."""
        request = gateway_service_pb2.PromoteAlignerRequest(
            collection=collection,
            aligner=aligner,
            allow_unverified=allow_unverified,
            override_reason=override_reason,
            request_id=request_id or new_request_id(),
        )
        return self._plan(
            "PromoteAligner", [request], lambda answers: self._wrote(decode.collection(answers[0].collection))
        )

    def rollback_aligner(self, collection: str, *, request_id: str | None) -> Plan[Collection]:
        """Plan a rollback."""
        request = gateway_service_pb2.RollbackAlignerRequest(
            collection=collection, request_id=request_id or new_request_id()
        )
        return self._plan(
            "RollbackAligner", [request], lambda answers: self._wrote(decode.collection(answers[0].collection))
        )

    def status(self) -> Plan[Status]:
        """Plan a look at the mesh."""
        return self._plan(
            "GetStatus", [gateway_service_pb2.GetStatusRequest()], lambda answers: decode.status(answers[0])
        )

    def fit_request(
        self,
        collection: str,
        *,
        aligner_id: str,
        method: str,
        options: FitOptions | None,
        seed: int,
        min_revision: int | None,
        request_id: str | None,
    ) -> gateway_service_pb2.FitAlignerRequest:
        """Return the one message of a fit."""
        return gateway_service_pb2.FitAlignerRequest(
            collection=collection,
            aligner_id=aligner_id,
            method=method,
            seed=seed,
            min_revision=self.revisions.least(collection, min_revision),
            request_id=request_id or new_request_id(),
            options=None if options is None else fit_options_message(options),
        )

    def _plan(self, method: str, requests: Iterable[Message], read: Callable[[Sequence[Any]], Result]) -> Plan[Result]:
        return Plan(method=method, requests=requests, decode=read, timeout_s=self.config.timeouts.call_s)

    def _wrote(self, collection: Collection) -> Collection:
        self.revisions.wrote(collection.name, collection.revision)
        return collection


def _is_empty(given: Iterable[object]) -> bool:
    """Return whether there is certainly nothing in `given`; an iterator may hold something."""
    return isinstance(given, Sequence) and not given
