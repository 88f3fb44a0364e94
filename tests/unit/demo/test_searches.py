"""What the demo asks, and which answer it calls right."""

from __future__ import annotations

from collections import Counter

from tools.demo.pictures import load_pictures
from tools.demo.results import Found, Modality
from tools.demo.searches import Question, questions, rank_of_answer


def _found(*items: tuple[Modality, str]) -> list[Found]:
    return [Found(item_id=f"{m}/{key}/{i}", modality=m, key=key, score=0.0) for i, (m, key) in enumerate(items)]


def test_every_sentence_and_photograph_is_asked_in_each_direction() -> None:
    """63 sentences twice; 21 photographs to sentences, to everything and, as a crop, to photographs."""
    pictures = load_pictures().pictures
    counts = Counter(question.direction for question in questions(pictures))
    assert counts == {
        "text_to_image": 63,
        "text_to_any": 63,
        "image_to_text": 21,
        "image_to_image": 21,
        "image_to_any": 21,
    }


def test_image_to_image_never_asks_with_an_indexed_file() -> None:
    """A photograph that finds itself shows nothing: the query is the bytes of a new picture."""
    pictures = load_pictures().pictures[:3]
    files = {picture.path.read_bytes() for picture in pictures}
    contents = [q.content for q in questions(pictures) if q.direction == "image_to_image"]
    assert all(isinstance(content, bytes) and content not in files for content in contents)
    assert len(contents) == 3


def test_the_first_answer_with_the_pair_key_is_right_across_modalities() -> None:
    """Of three sentences of one photograph the first to come counts."""
    question = Question("image_to_text", "cat", "cat", b"")
    assert rank_of_answer(question, _found(("text", "dog"), ("text", "cat"), ("text", "cat"))) == 2
    assert rank_of_answer(question, _found(("text", "dog"))) is None


def test_a_mixed_search_sets_siblings_aside_and_wants_the_other_modality() -> None:
    """Sentences of the same photograph neither count as right nor push the photograph down."""
    question = Question("text_to_any", "cat", "a cat", "a cat", "text/cat/0")
    answers = _found(("text", "cat"), ("text", "cat"), ("text", "dog"), ("image", "cat"))
    assert rank_of_answer(question, answers) == 2


def test_a_mixed_search_by_a_photograph_wants_a_sentence() -> None:
    """The photograph itself is set aside; its first sentence is right."""
    question = Question("image_to_any", "cat", "cat", b"", "image/cat/0")
    assert rank_of_answer(question, _found(("image", "cat"), ("image", "dog"), ("text", "cat"))) == 2
