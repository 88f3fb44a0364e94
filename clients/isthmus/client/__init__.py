"""The Python client of Isthmus.

`Client` talks to a mesh from threads and scripts, `AsyncClient` from asyncio. Both have the same methods, take and
return the same values, and need nothing but grpcio, protobuf and numpy (Pillow only to send arrays as images).
"""

from __future__ import annotations

from isthmus.client.aliases.results import Alias, AliasComparison
from isthmus.client.aligners.results import (
    Aligner,
    FitProgress,
    Promotion,
    PromotionHistory,
    PromotionKind,
    ShadowReport,
    ShadowState,
)
from isthmus.client.async_client import AsyncClient
from isthmus.client.backups.results import Backup, RestoreResult
from isthmus.client.client import Client
from isthmus.client.collections.results import Collection, IndexKind, ServedRecall, Structure, StructureState
from isthmus.client.config import DEFAULT_ADDRESS, ClientConfig, Limits, Resume, Timeouts, Tls
from isthmus.client.embed.results import Embeddings, EmbedResult
from isthmus.client.errors import (
    AbortedError,
    AlreadyExistsError,
    CallCancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    IsthmusError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from isthmus.client.importing.results import ImportedFile, ImportFile, ImportResult
from isthmus.client.inputs import (
    AnyModality,
    AttributeValue,
    FitOptions,
    Gain,
    GainOptions,
    GroupBy,
    GuardLimits,
    ImageLike,
    Input,
    Item,
    Modality,
    SliceOptions,
    SpacedVector,
    Truncation,
)
from isthmus.client.items.results import DeleteResult, EraseResult, GetResult, StoredItem, UpsertAck, UpsertSummary
from isthmus.client.judging.results import (
    Comparison,
    EvaluationReport,
    GapReport,
    MixedRetrieval,
    RecallAt,
    VerificationReport,
)
from isthmus.client.linking.plan import LinkMode
from isthmus.client.linking.results import Link, LinkProposal
from isthmus.client.matching.inputs import Impostor, MatchTerms, Pair
from isthmus.client.matching.results import AuditedPair, AuditSummary, Decision, MatchResult, PairMatch
from isthmus.client.mesh.results import CacheStatus, EncoderStatus, Status
from isthmus.client.results import Calibration, ItemError, Timings
from isthmus.client.search.examples import Example
from isthmus.client.search.queries import Query
from isthmus.client.search.results import BatchSearchResult, Neighbor, QueryResult, SearchResult
from isthmus.client.search.where import F, Filter
from isthmus.client.watching.results import (
    ModalityDrift,
    Moved,
    ProbeRecall,
    ProposalState,
    RefitProposal,
    WatchLimits,
    WatchReport,
)

__all__ = [
    "DEFAULT_ADDRESS",
    "AbortedError",
    "Alias",
    "AliasComparison",
    "Aligner",
    "AlreadyExistsError",
    "AnyModality",
    "AsyncClient",
    "AttributeValue",
    "AuditSummary",
    "AuditedPair",
    "Backup",
    "BatchSearchResult",
    "CacheStatus",
    "Calibration",
    "CallCancelledError",
    "Client",
    "ClientConfig",
    "Collection",
    "Comparison",
    "DataLossError",
    "DeadlineExceededError",
    "Decision",
    "DeleteResult",
    "EmbedResult",
    "Embeddings",
    "EncoderStatus",
    "EraseResult",
    "EvaluationReport",
    "Example",
    "F",
    "FailedPreconditionError",
    "Filter",
    "FitOptions",
    "FitProgress",
    "Gain",
    "GainOptions",
    "GapReport",
    "GetResult",
    "GroupBy",
    "GuardLimits",
    "ImageLike",
    "ImportFile",
    "ImportResult",
    "ImportedFile",
    "Impostor",
    "IndexKind",
    "Input",
    "InternalError",
    "InvalidArgumentError",
    "IsthmusError",
    "Item",
    "ItemError",
    "Limits",
    "Link",
    "LinkMode",
    "LinkProposal",
    "MatchResult",
    "MatchTerms",
    "MixedRetrieval",
    "Modality",
    "ModalityDrift",
    "Moved",
    "Neighbor",
    "NotFoundError",
    "Pair",
    "PairMatch",
    "PermissionDeniedError",
    "ProbeRecall",
    "Promotion",
    "PromotionHistory",
    "PromotionKind",
    "ProposalState",
    "Query",
    "QueryResult",
    "RecallAt",
    "RefitProposal",
    "ResourceExhaustedError",
    "RestoreResult",
    "Resume",
    "SearchResult",
    "ServedRecall",
    "ShadowReport",
    "ShadowState",
    "SliceOptions",
    "SpacedVector",
    "Status",
    "StoredItem",
    "Structure",
    "StructureState",
    "Timeouts",
    "Timings",
    "Tls",
    "Truncation",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UpsertAck",
    "UpsertSummary",
    "VerificationReport",
    "WatchLimits",
    "WatchReport",
]
