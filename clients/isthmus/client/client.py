"""The client for threads and scripts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from isthmus.client import decode
from isthmus.client.aligner_folder import read_aligner_folder, write_aligner_folder
from isthmus.client.channel import Endpoint, new_request_id
from isthmus.client.chunking import Chunk, chunks
from isthmus.client.config import ClientConfig, Tls, resolve_access
from isthmus.client.convert import item_message
from isthmus.client.fit import FitReader
from isthmus.client.inputs import AnyModality, FitOptions, GuardLimits, ImageLike, Input, Item, SpacedVector, Truncation
from isthmus.client.plan import Plan, Planner
from isthmus.client.results import (
    Aligner,
    Collection,
    Comparison,
    DeleteResult,
    EmbedResult,
    EvaluationReport,
    FitProgress,
    GapReport,
    GetResult,
    SearchResult,
    Status,
    UpsertAck,
    UpsertSummary,
    VerificationReport,
)
from isthmus.client.status import from_rpc_error
from isthmus.client.streams import UpsertStream
from isthmus.client.upsert import StreamBrokenError, UpsertSession
from isthmus.v1 import gateway_service_pb2, gateway_service_pb2_grpc

__all__ = ["Client"]

Result = TypeVar("Result")


class Client:
    """Talk to a mesh. Safe to share between threads.

        with Client() as client:
            client.upsert("photos", [Item(id="cat", image="cat.jpg")])
            for neighbor in client.search("photos", text="a sleeping cat").neighbors:
                print(neighbor.id, neighbor.score)

    Reads of a collection see everything that this client has written to it before (`min_revision`). Calls that cannot
    do harm twice are retried when nobody answers; whatever fails in the end is an `IsthmusError`, or a `ValueError`
    when the arguments are wrong already here.

    Args:
        address: `HOST:PORT`, `unix:PATH`, or `dns://SERVER/HOST:PORT` to ask one name server; a name that stands for
            several gateways is spread over all of them. None means the variable ISTHMUS_ADDRESS, else 127.0.0.1:7480.
        tls: How the mesh is known; None means the configuration's.
        api_key: Who calls; None means the configuration's.
        config: Deadlines, sizes and patience; TLS and key too, and what it leaves open the environment says.

    Raises:
        ValueError: the address has another form, or the key would travel in the clear to another machine.
        OSError: a file of TLS cannot be read.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        tls: Tls | None = None,
        api_key: str | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        settled = resolve_access(config or ClientConfig(), tls=tls, api_key=api_key)
        self._endpoint = Endpoint.resolve(address, settled)
        self.address = self._endpoint.address
        self._planner = Planner(settled)
        self._channel = self._endpoint.open()
        self._stub = gateway_service_pb2_grpc.GatewayServiceStub(self._channel)

    def close(self) -> None:
        """Close the connection; calls on their way are cancelled. Closing twice is fine."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def embed(
        self,
        *,
        images: Iterable[ImageLike] = (),
        texts: Iterable[str] = (),
        inputs: Iterable[Input] = (),
        truncation: Truncation = "flag",
        aligner: str = "",
        timeout_s: float | None = None,
    ) -> EmbedResult:
        """Embed images and texts. A bad input is listed in `errors` and harms no other.

        Args:
            images: Images.
            texts: Texts.
            inputs: Both, in any order; numbered after `images` and `texts`.
            truncation: Cut a text longer than the model's context and say so, or refuse it.
            aligner: Return embeddings in this aligner's space; empty means raw.
            timeout_s: Deadline of each message of up to 256 inputs.

        Raises:
            IsthmusError: the call as a whole failed.
            OSError: a path cannot be read.
            ValueError: an array is no image.
        """
        return self._run(
            self._planner.embed(images=images, texts=texts, inputs=inputs, truncation=truncation, aligner=aligner),
            timeout_s,
        )

    def upsert(
        self,
        collection: str,
        items: Iterable[Item],
        *,
        truncation: Truncation = "flag",
        request_id: str | None = None,
        progress: Callable[[UpsertAck], None] | None = None,
        timeout_s: float | None = None,
    ) -> UpsertSummary:
        """Store items, as many as `items` yields; return when all are durable.

        Args:
            collection: Where they go.
            items: The items; read as they are sent, never all at once.
            truncation: Cut a text longer than the model's context and say so, or refuse it.
            request_id: 1 to 48 characters that name this upsert; the same items under the same id are applied once.
            progress: Called with each acknowledgement.
            timeout_s: Deadline of each stream it takes.

        Raises:
            IsthmusError: as `upsert_acks`.
        """
        acks = []
        for ack in self.upsert_acks(
            collection, items, truncation=truncation, request_id=request_id, timeout_s=timeout_s
        ):
            acks.append(ack)
            if progress is not None:
                progress(ack)
        return decode.upsert_summary(acks)

    def upsert_acks(
        self,
        collection: str,
        items: Iterable[Item],
        *,
        truncation: Truncation = "flag",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[UpsertAck]:
        """Store items; yield an acknowledgement for each message once it is durable.

        When the mesh goes away in between, the messages without an acknowledgement are sent again under the same
        request ids, which the mesh applies once. Arguments are those of `upsert`.

        Raises:
            IsthmusError: the mesh refused a message as a whole, or stayed away (`ClientConfig.resume`).
            OSError: a path cannot be read.
            ValueError: an array is no image, or `request_id` is too long.
        """
        session = UpsertSession(self._planner, collection, truncation=truncation, request_id=request_id)
        source = chunks(map(item_message, items), limits=self._planner.config.limits)
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        while not session.done:
            try:
                with UpsertStream(self._stub, endpoint=self._endpoint, timeout_s=limit_s) as stream:
                    yield from _pump(session, stream, source)
            except StreamBrokenError as broken:
                time.sleep(session.pause_s(broken))
        yield from session.leftover()

    def delete(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> DeleteResult:
        """Delete items; ids that are not there are passed over.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(self._planner.delete(collection, ids, request_id=request_id), timeout_s)

    def get_items(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        include_embeddings: bool = False,
        include_thumbnails: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> GetResult:
        """Get items by id; one that is not there is left out.

        Args:
            collection: Where to look.
            ids: Their ids.
            include_embeddings: Return raw embeddings.
            include_thumbnails: Return thumbnails.
            min_revision: Answer from at least this revision; None means the newest this client wrote.
            timeout_s: Deadline of each message.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(
            self._planner.get_items(
                collection,
                ids,
                include_embeddings=include_embeddings,
                include_thumbnails=include_thumbnails,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    def search(
        self,
        collection: str,
        *,
        text: str | None = None,
        image: ImageLike | None = None,
        vector: SpacedVector | None = None,
        item_id: str | None = None,
        modality: AnyModality = "any",
        top_k: int = 10,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> SearchResult:
        """Find the items nearest to exactly one of a text, an image, a vector and an item of the collection.

        Args:
            collection: Where to look.
            text: A text.
            image: An image.
            vector: A vector in the collection's raw space for its modality.
            item_id: An item of the collection; it is left out of its own answers.
            modality: What to answer with.
            top_k: Neighbours wanted, 1 to 1000.
            min_revision: Answer from at least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            IsthmusError: the call failed.
            ValueError: not exactly one query is given.
        """
        return self._run(
            self._planner.search(
                collection,
                text=text,
                image=image,
                vector=vector,
                item_id=item_id,
                modality=modality,
                top_k=top_k,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    def create_collection(
        self,
        name: str,
        *,
        image_space: str = "",
        text_space: str = "",
        image_dimension: int = 0,
        text_dimension: int = 0,
        aligner: str = "",
        store_thumbnails: bool = False,
        guard: GuardLimits | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Create a collection.

        Args:
            name: Its name, `^[a-z0-9][a-z0-9_-]{0,62}$`.
            image_space: Raw space of its images; empty means the mesh's own, unless `text_space` is given.
            text_space: Raw space of its texts; empty means the mesh's own, unless `image_space` is given.
            image_dimension: Dimension of an image space that is not the mesh's own.
            text_dimension: Dimension of a text space that is not the mesh's own.
            aligner: Aligner to start with; empty means the mesh's default for these spaces.
            store_thumbnails: Let items carry thumbnails.
            guard: What an aligner may cost it; None means the defaults.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            AlreadyExistsError: COLLECTION_EXISTS.
            IsthmusError: the call failed otherwise.
        """
        return self._run(
            self._planner.create_collection(
                name,
                image_space=image_space,
                text_space=text_space,
                image_dimension=image_dimension,
                text_dimension=text_dimension,
                aligner=aligner,
                store_thumbnails=store_thumbnails,
                guard=guard,
                request_id=request_id,
            ),
            timeout_s,
        )

    def get_collection(self, name: str, *, timeout_s: float | None = None) -> Collection:
        """Get a collection.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        return self._run(self._planner.get_collection(name), timeout_s)

    def list_collections(self, *, timeout_s: float | None = None) -> tuple[Collection, ...]:
        """List the collections by name.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(self._planner.list_collections(), timeout_s)

    def delete_collection(self, name: str, *, request_id: str | None = None, timeout_s: float | None = None) -> None:
        """Delete a collection and its items.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        self._run(self._planner.delete_collection(name, request_id=request_id), timeout_s)

    def evaluate(
        self,
        collection: str,
        *,
        through_search: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> EvaluationReport:
        """Judge retrieval over the collection's pairs.

        Args:
            collection: The collection.
            through_search: Send every query through search in place of computing similarities exactly.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(
            self._planner.evaluate(collection, through_search=through_search, min_revision=min_revision), timeout_s
        )

    def measure_gap(
        self,
        collection: str,
        *,
        aligner: str = "",
        seed: int = 0,
        sample_count: int = 0,
        compare_distances: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> GapReport:
        """Measure the gap between the modalities on the collection's pairs.

        Args:
            collection: The collection.
            aligner: Measure in this aligner's space; empty measures raw embeddings.
            seed: Seed of every sample, split and bootstrap.
            sample_count: Pairs that the costlier measures look at, 16 to 5000; 0 means 2000.
            compare_distances: Compare four dissimilarities too, which takes longer than all the rest.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: NOT_ENOUGH_PAIRS, ALIGNER_SPACES_MISMATCH.
            IsthmusError: the call failed otherwise.
        """
        return self._run(
            self._planner.measure_gap(
                collection,
                aligner=aligner,
                seed=seed,
                sample_count=sample_count,
                compare_distances=compare_distances,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    def verify_aligner(
        self,
        collection: str,
        aligner: str,
        *,
        seed: int = 0,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> VerificationReport:
        """Judge an aligner on the pairs that a fit to this collection holds out, against serving without it.

        Args:
            collection: The collection.
            aligner: `aligner_id@revision`, or `aligner_id` for its newest revision.
            seed: Seed of the bootstrap.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: NOT_ENOUGH_PAIRS, PAIRS_LEAK, ALIGNER_SPACES_MISMATCH.
            IsthmusError: the call failed otherwise.
        """
        return self._run(
            self._planner.verify_aligner(collection, aligner, seed=seed, min_revision=min_revision), timeout_s
        )

    def compare_aligners(
        self,
        collection: str,
        *,
        methods: Sequence[str] = (),
        hubness: bool = False,
        seed: int = 0,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Comparison:
        """Fit methods to the collection's pairs and judge all on the same held-out ones; nothing is kept.

        Args:
            collection: The collection.
            methods: Which ones; none means all that can be fitted.
            hubness: Correct hubness on top of every method.
            seed: Seed of everything random.
            min_revision: At least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: NOT_ENOUGH_PAIRS, PAIRS_LEAK.
            IsthmusError: the call failed otherwise.
        """
        return self._run(
            self._planner.compare_aligners(collection, methods, hubness=hubness, seed=seed, min_revision=min_revision),
            timeout_s,
        )

    def list_aligners(self, *, timeout_s: float | None = None) -> tuple[Aligner, ...]:
        """List the aligners by name.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(self._planner.list_aligners(), timeout_s)

    def get_aligner(self, aligner: str, *, timeout_s: float | None = None) -> Aligner:
        """Get one aligner; its manifest holds its report on held-out pairs.

        Args:
            aligner: `aligner_id@revision`, or `aligner_id` for its newest revision.
            timeout_s: Deadline.

        Raises:
            NotFoundError: ALIGNER_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        return self._run(self._planner.get_aligner(aligner), timeout_s)

    def export_aligner(
        self, aligner: str, folder: str | os.PathLike[str], *, timeout_s: float | None = None
    ) -> Aligner:
        """Write an aligner's artefact to a folder, as `import_aligner` reads it.

        Args:
            aligner: `aligner_id@revision`, or `aligner_id` for its newest revision.
            folder: Made when absent; files of an earlier export are replaced.
            timeout_s: Deadline.

        Raises:
            NotFoundError: ALIGNER_NOT_FOUND.
            IsthmusError: the call failed otherwise.
            OSError: the folder cannot be written.
        """
        found, manifest, tensors = self._run(self._planner.export_aligner(aligner), timeout_s)
        write_aligner_folder(folder, manifest, tensors)
        return found

    def fit_aligner(
        self,
        collection: str,
        *,
        aligner_id: str,
        method: str,
        options: FitOptions | None = None,
        seed: int = 0,
        min_revision: int | None = None,
        request_id: str | None = None,
        progress: Callable[[FitProgress], None] | None = None,
        timeout_s: float | None = None,
    ) -> Aligner:
        """Fit an aligner to a collection's pairs, calibrate it, and judge it on a fifth of them that it never sees.

        Args:
            collection: The collection that is learned from.
            aligner_id: Name of the new aligner.
            method: identity, shift, center, standardize, procrustes, cca, ridge, spectral or transport.
            options: How it is to fit; None means the method's defaults.
            seed: Seed of every sample.
            min_revision: Fit on at least this revision; None means the newest this client wrote.
            request_id: Names this mutation.
            progress: Called with each step.
            timeout_s: Deadline.

        Raises:
            IsthmusError: the call failed.
        """
        request = self._planner.fit_request(
            collection,
            aligner_id=aligner_id,
            method=method,
            options=options,
            seed=seed,
            min_revision=min_revision,
            request_id=request_id,
        )
        reader, call_id = FitReader(progress), new_request_id()
        limit_s = self._planner.config.timeouts.stream_s if timeout_s is None else timeout_s
        try:
            for message in self._stub.FitAligner(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)):
                reader.read(message)
        except grpc.RpcError as error:
            raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        return reader.result()

    def import_aligner(
        self, folder: str | os.PathLike[str], *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Aligner:
        """Keep an aligner that was trained elsewhere.

        Args:
            folder: Holds `manifest.json` and `aligner.safetensors`, as `isthmus train aligner` leaves them.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            IsthmusError: the call failed.
            OSError: one of the files cannot be read.
        """
        manifest, tensors = read_aligner_folder(folder)
        return self._run(self._planner.import_aligner(manifest, tensors, request_id=request_id), timeout_s)

    def promote_aligner(
        self,
        collection: str,
        aligner: str,
        *,
        allow_unverified: bool = False,
        override_reason: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Make an aligner the active one of a collection. Nothing is encoded again.

        Args:
            collection: The collection.
            aligner: `aligner_id@revision`, or `aligner_id` for its newest revision.
            allow_unverified: Say that an aligner without a report on held-out pairs was judged elsewhere.
            override_reason: Why it is promoted although its report breaks the guard; kept with the collection.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: GUARD_BROKEN with the figures, UNVERIFIED_ALIGNER, ALIGNER_SPACES_MISMATCH.
            IsthmusError: the call failed.
        """
        return self._run(
            self._planner.promote_aligner(
                collection,
                aligner,
                allow_unverified=allow_unverified,
                override_reason=override_reason,
                request_id=request_id,
            ),
            timeout_s,
        )

    def rollback_aligner(
        self, collection: str, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> Collection:
        """Make the aligner before the active one active again, byte for byte; each call goes one further back.

        Args:
            collection: The collection.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: NO_PREVIOUS_ALIGNER.
            IsthmusError: the call failed otherwise.
        """
        return self._run(self._planner.rollback_aligner(collection, request_id=request_id), timeout_s)

    def status(self, *, timeout_s: float | None = None) -> Status:
        """Return what the mesh is made of and how it is.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(self._planner.status(), timeout_s)

    def _run(self, plan: Plan[Result], timeout_s: float | None) -> Result:
        method = getattr(self._stub, plan.method)
        limit_s = plan.timeout_s if timeout_s is None else timeout_s
        answers: list[Any] = []
        for request in plan.requests:
            call_id = new_request_id()
            try:
                answers.append(method(request, timeout=limit_s, metadata=self._endpoint.metadata(call_id)))
            except grpc.RpcError as error:
                raise from_rpc_error(error, address=self.address, request_id=call_id) from error
        return plan.decode(answers)


def _pump(
    session: UpsertSession, stream: UpsertStream, source: Iterator[Chunk[gateway_service_pb2.UpsertItem]]
) -> Iterator[UpsertAck]:
    """Send what is not acknowledged yet, then what `source` yields, never more than the window allows."""
    session.begin()
    while not session.done:
        while session.may_send:
            request = session.again() or session.offer(next(source, None))
            if request is not None:
                stream.send(request)
        if session.all_sent:
            stream.end()
        if session.awaits:
            yield session.acknowledge(stream.receive())
