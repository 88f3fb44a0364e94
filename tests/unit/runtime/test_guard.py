"""The limits of a collection's guard, as every service carries them."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from isthmus.client import GuardLimits as ClientLimits
from isthmus.core.guard import GuardLimits as CoreLimits
from isthmus.index.model import CollectionSettings
from isthmus.runtime.base.errors import InvalidArgumentError
from isthmus.runtime.base.guard import GuardTerms
from isthmus.runtime.rpc.guard import guard_message, guard_terms
from isthmus.v1 import common_pb2


def test_the_defaults_are_the_same_everywhere() -> None:
    """The client's, the wire's, the store's and those of the numerics."""
    assert asdict(GuardTerms()) == asdict(CoreLimits()) == asdict(ClientLimits())
    assert guard_terms(common_pb2.GuardLimits()) == GuardTerms()


def test_a_limit_of_nought_is_not_an_unset_one() -> None:
    """There and back every limit is what it was."""
    terms = GuardTerms(epsilon=0.0, hubness_growth=0.25)
    assert guard_terms(guard_message(terms)) == terms
    assert guard_terms(common_pb2.GuardLimits(epsilon=0.0)) == GuardTerms(epsilon=0.0)


@pytest.mark.parametrize("limit", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_limit_outside_of_its_bounds_is_refused(limit: float) -> None:
    """The field is named."""
    with pytest.raises(InvalidArgumentError, match=r"guard\.structure_least must be from 0 to 1"):
        guard_terms(common_pb2.GuardLimits(structure_least=limit))


def test_the_settings_of_a_collection_keep_them() -> None:
    """A collection from before there were limits has the defaults."""
    settings = CollectionSettings(
        image_space="a@0123456789abcdef",
        text_space="",
        image_dimension=4,
        text_dimension=0,
        guard=GuardTerms(epsilon=0.1),
    )
    assert CollectionSettings.from_json(settings.to_json()) == settings
    old = '{"image_space": "a@0123456789abcdef", "text_space": "", "image_dimension": 4, "text_dimension": 0}'
    assert CollectionSettings.from_json(old).guard == GuardTerms()
