"""What calls for the mesh itself send, and how their answers are read."""

from __future__ import annotations

from isthmus.client.mesh import decode
from isthmus.client.mesh.results import Status
from isthmus.client.plan import Plan, Planner
from isthmus.v1 import gateway_service_pb2

__all__ = ["status"]


def status(planner: Planner) -> Plan[Status]:
    """Plan a look at the mesh."""
    return planner.plan(
        "GetStatus", [gateway_service_pb2.GetStatusRequest()], lambda answers: decode.status(answers[0])
    )
