"""What calls for aliases send, and how their answers are read."""

from __future__ import annotations

from dataclasses import replace

from isthmus.client.aliases import decode
from isthmus.client.aliases.results import Alias
from isthmus.client.channel import new_request_id
from isthmus.client.plan import Plan, Planner
from isthmus.v1 import gateway_service_pb2

__all__ = ["delete_alias", "list_aliases", "set_alias"]


def set_alias(
    planner: Planner,
    alias: str,
    collection: str,
    *,
    recall_margin: float | None,
    override_reason: str,
    seed: int,
    request_id: str | None,
) -> Plan[Alias]:
    """Plan where an alias is to point; comparing takes as long as judging does."""
    request = gateway_service_pb2.SetAliasRequest(
        alias=alias,
        collection=collection,
        recall_margin=recall_margin,
        override_reason=override_reason,
        seed=seed,
        request_id=request_id or new_request_id(),
    )
    plan = planner.plan("SetAlias", [request], lambda answers: decode.alias(answers[0].alias))
    return replace(plan, timeout_s=planner.config.timeouts.evaluate_s)


def delete_alias(planner: Planner, alias: str, *, request_id: str | None) -> Plan[None]:
    """Plan the end of an alias."""
    request = gateway_service_pb2.DeleteAliasRequest(alias=alias, request_id=request_id or new_request_id())
    return planner.plan("DeleteAlias", [request], lambda _: planner.revisions.forget(alias))


def list_aliases(planner: Planner) -> Plan[tuple[Alias, ...]]:
    """Plan the list of aliases."""
    return planner.plan(
        "ListAliases",
        [gateway_service_pb2.ListAliasesRequest()],
        lambda answers: tuple(decode.alias(found) for found in answers[0].aliases),
    )
