"""What a searcher tells of its structures, over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import grpc

from isthmus.core.modality import Modality
from isthmus.index.probe.figures import RecallFigure
from isthmus.index.shard_calls import ShardCalls
from isthmus.index.structure_state import StructureReport, StructureState
from isthmus.runtime.base import context
from isthmus.runtime.rpc.structure_kinds import kind_message
from isthmus.v1 import common_pb2, index_search_service_pb2

__all__ = ["StructureCalls"]

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_STATES: Final[Mapping[StructureState, common_pb2.StructureState.ValueType]] = {
    StructureState.EXACT: common_pb2.STRUCTURE_STATE_EXACT,
    StructureState.READY: common_pb2.STRUCTURE_STATE_READY,
    StructureState.OVER_BUDGET: common_pb2.STRUCTURE_STATE_OVER_BUDGET,
    StructureState.FAILED: common_pb2.STRUCTURE_STATE_FAILED,
}
_MODALITIES: Final = {Modality.IMAGE: common_pb2.MODALITY_IMAGE, Modality.TEXT: common_pb2.MODALITY_TEXT}


class StructureCalls(ShardCalls):
    """The part of `IndexSearchService` that is about structures."""

    async def GetStructures(
        self, request: index_search_service_pb2.GetStructuresRequest, _context: _Context
    ) -> index_search_service_pb2.GetStructuresResponse:
        """Say what structures a collection has."""
        self.check_whole()
        call = context.current()
        found = await self._engine.structure_reports(
            call.tenant, request.collection, min_revision=request.min_revision, timeout_s=call.remaining_s()
        )
        served = {
            figure.item_modality: figure
            for figure in await self._engine.recall_figures(call.tenant, request.collection)
        }
        return index_search_service_pb2.GetStructuresResponse(
            structures=[
                _structure_message(modality, report, served.get(modality)) for modality, report in found.items()
            ]
        )


def _structure_message(
    modality: Modality, report: StructureReport, served: RecallFigure | None
) -> common_pb2.Structure:
    return common_pb2.Structure(
        modality=_MODALITIES[modality],
        state=_STATES[report.state],
        kind=kind_message(report.kind),
        recall=report.recall,
        cross_modal=report.is_cross_modal,
        probes=report.probes,
        shortlist=report.shortlist,
        item_count=report.rows,
        memory_bytes=report.memory_bytes,
        needed_bytes=report.needed_bytes,
        limit_bytes=report.limit_bytes,
        served=None if served is None else _served_message(served),
    )


def _served_message(figure: RecallFigure) -> common_pb2.ServedRecall:
    return common_pb2.ServedRecall(
        recall=figure.recall,
        target=figure.target,
        query_count=figure.query_count,
        real=figure.is_real,
        revision=figure.revision,
        time_micros=round(figure.time_s * 1e6),
    )
