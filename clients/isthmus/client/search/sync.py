"""Calls for searching, for threads and scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus.client.calls import Calls
from isthmus.client.inputs import AnyModality, GroupBy, ImageLike, SpacedVector
from isthmus.client.search import plan
from isthmus.client.search.examples import Example
from isthmus.client.search.queries import Query
from isthmus.client.search.results import BatchSearchResult, SearchResult
from isthmus.client.search.where import Filter

__all__ = ["SearchCalls"]


class SearchCalls(Calls):
    """Calls of `Client` for searching."""

    def search(
        self,
        collection: str,
        *,
        text: str | None = None,
        image: ImageLike | None = None,
        vector: SpacedVector | None = None,
        item_id: str | None = None,
        examples: Sequence[Example] | None = None,
        keywords: str | None = None,
        modality: AnyModality = "any",
        where: Filter | None = None,
        group_by: GroupBy | None = None,
        collapse_above: float | None = None,
        mmr_lambda: float | None = None,
        exact: bool = False,
        allow_partial: bool = False,
        top_k: int = 10,
        page_token: str | None = None,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> SearchResult:
        """Find the items nearest to exactly one of a text, an image, a vector, an item of the collection and examples.

        Args:
            collection: Where to look.
            text: A text.
            image: An image.
            vector: A vector in the collection's raw space for its modality.
            item_id: An item of the collection; it is left out of its own answers.
            examples: Up to 64 that answers should be like or, of negative weight, unlike, in any mixture of modalities:
                the query is the weighted mean of their aligned unit vectors. Items among them are left out.
            keywords: Words of kept texts (`create_collection(keyword_search=True)`), at most 1 KiB and 64 terms. Beside
                a query, text items that hold some of them are answers too, merged by calibrated score; without a query
                they are the answers, by BM25.
            modality: What to answer with.
            where: What must hold of the answers' attributes, for example `F("price") < 10`; None means nothing. `top_k`
                answers come whenever so many items match.
            group_by: `"pair_key"` answers once for all items that share a pair key, with the best of them, and `top_k`
                counts such answers; an item without a pair key stands for itself. None answers with every item.
            collapse_above: Leave out near-duplicates: items whose cosine with a better answer of their modality, in the
                searched space, is at least this, above 0 and at most 1. None keeps them.
            mmr_lambda: Choose answers by maximal marginal relevance: the weight of relevance against likeness to the
                answers before, 0 to 1. None orders them by relevance alone. Both look at the best 4 x `top_k`
                candidates, at least 100 and at most 1000.
            exact: Score every item, in place of those that a large collection's structures name.
            allow_partial: Where collections are split over groups of searchers, answer from the groups that answer in
                time and say so; else one that is missing fails the search.
            top_k: Neighbours wanted, 1 to 1000.
            page_token: `next_page_token` of the page before, with the same query; `top_k` answers a page, 10,000 in
                all. Once the collection has changed, the next page fails with CURSOR_EXPIRED.
            min_revision: Answer from at least this revision; None means the newest this client wrote.
            timeout_s: Deadline.

        Raises:
            IsthmusError: the call failed.
            ValueError: several queries are given, or neither a query nor keywords.
        """
        return self._run(
            plan.search(
                self._planner,
                collection,
                text=text,
                image=image,
                vector=vector,
                item_id=item_id,
                examples=examples,
                keywords=keywords,
                modality=modality,
                where=where,
                group_by=group_by,
                collapse_above=collapse_above,
                mmr_lambda=mmr_lambda,
                exact=exact,
                allow_partial=allow_partial,
                top_k=top_k,
                page_token=page_token,
                min_revision=min_revision,
            ),
            timeout_s,
        )

    def batch_search(
        self,
        collection: str,
        queries: Iterable[Query | str],
        *,
        modality: AnyModality = "any",
        where: Filter | None = None,
        group_by: GroupBy | None = None,
        collapse_above: float | None = None,
        mmr_lambda: float | None = None,
        exact: bool = False,
        allow_partial: bool = False,
        top_k: int = 10,
        basic: bool = False,
        min_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> BatchSearchResult:
        """Find the items nearest to each of many queries, in as few calls as they fit in.

        Args:
            collection: Where to look.
            queries: Texts, images, vectors and items of the collection, in any mixture; a plain string is a text.
                Messages hold up to 256, and up to 25,600 answers.
            modality: What to answer with.
            where: As of `search`.
            group_by: As of `search`.
            collapse_above: As of `search`.
            mmr_lambda: As of `search`.
            exact: As of `search`.
            allow_partial: As of `search`.
            top_k: Neighbours wanted of each query, 1 to 1000.
            basic: Tell of the answers' items only id, modality and pair key, which is quicker.
            min_revision: Answer from at least this revision; None means the newest this client wrote.
            timeout_s: Deadline of each message.

        Returns:
            Answers and errors by position: a bad query never fails its neighbours.

        Raises:
            IsthmusError: a call failed as a whole.
            OSError: an image cannot be read.
            ValueError: an argument is none that there is.
        """
        return self._run(
            plan.batch_search(
                self._planner,
                collection,
                queries,
                modality=modality,
                where=where,
                group_by=group_by,
                collapse_above=collapse_above,
                mmr_lambda=mmr_lambda,
                exact=exact,
                allow_partial=allow_partial,
                top_k=top_k,
                basic=basic,
                min_revision=min_revision,
            ),
            timeout_s,
        )
