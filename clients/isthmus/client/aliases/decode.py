"""Answers to calls for aliases, from the wire."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta

from isthmus.client.aliases.results import Alias, AliasComparison
from isthmus.v1 import alias_pb2

__all__ = ["alias"]


def alias(message: alias_pb2.Alias) -> Alias:
    """Return an alias."""
    found = message.comparison
    return Alias(
        name=message.name,
        collection=message.collection,
        previous_collection=message.previous_collection,
        time=datetime.fromtimestamp(0, UTC) + timedelta(microseconds=message.time_micros)
        if message.time_micros
        else None,
        override_reason=message.override_reason,
        comparison=AliasComparison(**{entry.name: getattr(found, entry.name) for entry in fields(AliasComparison)})
        if message.HasField("comparison")
        else None,
    )
