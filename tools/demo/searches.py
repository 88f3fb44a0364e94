"""What the demo asks of a mesh, through the public client and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from isthmus.client import AnyModality, Client, ImageLike, Item
from tools.demo.mesh import DemoError
from tools.demo.pictures import Picture, mirrored_crop
from tools.demo.results import Direction, Found, Modality, Search, first_rank

__all__ = ["COLLECTION", "Indexed", "Question", "ask", "index_pictures", "questions", "rank_of_answer"]

COLLECTION: Final = "photographs"
_ENDS: Final[dict[Direction, tuple[Modality, AnyModality]]] = {
    "text_to_image": ("text", "image"),
    "text_to_any": ("text", "any"),
    "image_to_text": ("image", "text"),
    "image_to_image": ("image", "image"),
    "image_to_any": ("image", "any"),
}
"""For each direction the modality of its queries and of its answers."""


@dataclass(frozen=True)
class Indexed:
    """The collection after indexing.

    Attributes:
        seconds: Time the caller waited for the collection and its items to be durable.
        image_space: Raw space of the pictures.
        text_space: Raw space of the sentences.
        aligner: Aligned space; empty when there is none.
    """

    seconds: float
    image_space: str
    text_space: str
    aligner: str


@dataclass(frozen=True)
class Question:
    """One search to ask.

    Attributes:
        direction: From which modality into which.
        key: Pair key of the query.
        label: The query in words.
        content: The sentence, or the photograph's path or bytes.
        own_id: The query's own item, which is no answer to a mixed search; empty when it is not in the collection.
    """

    direction: Direction
    key: str
    label: str
    content: ImageLike
    own_id: str = ""


def index_pictures(client: Client, pictures: Sequence[Picture]) -> Indexed:
    """Create the collection and store every photograph and sentence, joined by pair keys.

    Args:
        client: Connected to the mesh.
        pictures: What to store.

    Returns:
        The time it took and the spaces of the collection.

    Raises:
        DemoError: When the mesh refuses an item; the message holds its reasons.
        IsthmusError: When a call fails.
    """
    started = time.perf_counter()
    client.create_collection(COLLECTION)
    summary = client.upsert(COLLECTION, (item for picture in pictures for item in _items(picture)))
    seconds = time.perf_counter() - started
    if summary.errors:
        msg = "\n".join(["the mesh refused:", *(f"{error.id}: {error.message}" for error in summary.errors)])
        raise DemoError(msg)
    collection = client.get_collection(COLLECTION)
    return Indexed(
        seconds=seconds,
        image_space=collection.image_space,
        text_space=collection.text_space,
        aligner=collection.aligner,
    )


def questions(pictures: Sequence[Picture]) -> tuple[Question, ...]:
    """Return every question of the demo: nine for each picture with its three captions.

    Args:
        pictures: What was indexed.

    Returns:
        Each sentence, to photographs and to everything; each photograph, to sentences and to everything; and the
        mirrored crop of each photograph, which the mesh has never seen, to photographs.
    """
    asked: list[Question] = []
    for picture in pictures:
        for caption, own_id in zip(picture.captions, picture.caption_ids(), strict=True):
            asked.append(Question("text_to_image", picture.key, caption, caption))
            asked.append(Question("text_to_any", picture.key, caption, caption, own_id))
        asked.append(Question("image_to_text", picture.key, picture.key, picture.path))
        asked.append(Question("image_to_image", picture.key, picture.key, mirrored_crop(picture.path)))
        asked.append(Question("image_to_any", picture.key, picture.key, picture.path, picture.image_id))
    return tuple(asked)


def ask(client: Client, question: Question, *, top_k: int) -> Search:
    """Ask one question and find the first right answer.

    Args:
        client: Connected to the mesh that holds the pictures.
        question: What to ask.
        top_k: Answers wanted; the size of the collection gives every item a rank.

    Returns:
        The answers with the rank and the time.

    Raises:
        IsthmusError: When the search fails.
    """
    _, wanted = _ENDS[question.direction]
    started = time.perf_counter()
    if isinstance(question.content, str):
        result = client.search(COLLECTION, text=question.content, modality=wanted, top_k=top_k)
    else:
        result = client.search(COLLECTION, image=question.content, modality=wanted, top_k=top_k)
    seconds = time.perf_counter() - started
    found = tuple(
        Found(item_id=n.id, modality=n.modality, key=n.item.pair_key, score=n.score) for n in result.neighbors
    )
    return Search(
        direction=question.direction,
        key=question.key,
        query=question.label,
        found=tuple(item for item in found if item.item_id != question.own_id),
        rank=rank_of_answer(question, found),
        seconds=seconds,
        encoded=result.timings.cache_misses > 0,
    )


def rank_of_answer(question: Question, found: Sequence[Found]) -> int | None:
    """Return the 1-based place of the first right answer, or None when there is none.

    An answer with the query's pair key is right. In a mixed search it must also be of the other modality, and answers
    of the query's own modality with its key are set aside: the usual protocol of mixed retrieval.

    Args:
        question: What was asked.
        found: Every answer, best first.
    """
    asked, wanted = _ENDS[question.direction]
    if wanted == "any":
        found = [item for item in found if item.modality != asked or item.key != question.key]
    return first_rank(found, lambda item: item.key == question.key)


def _items(picture: Picture) -> Iterator[Item]:
    yield Item(id=picture.image_id, image=picture.path, pair_key=picture.key)
    for item_id, caption in zip(picture.caption_ids(), picture.captions, strict=True):
        yield Item(id=item_id, text=caption, pair_key=picture.key)
