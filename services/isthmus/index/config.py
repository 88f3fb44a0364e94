"""Configuration of an index process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from isthmus.runtime.base.object_store import Location, ObjectStore
from isthmus.runtime.base.server_config import CallerConfig
from isthmus.runtime.base.shards import Shard

__all__ = ["IndexConfig"]

_POLL_FOLDER_S: Final = 0.1
_POLL_OBJECT_STORE_S: Final = 2.0


class IndexConfig(CallerConfig):
    """What `python -m isthmus.index` takes, from its flags and from `ISTHMUS_INDEX_…`."""

    model_config = SettingsConfigDict(env_prefix="ISTHMUS_INDEX_", frozen=True, extra="forbid", env_ignore_empty=True)

    role: Literal["writer", "searcher"]
    """The one process that writes, or one of those that search."""
    store_dir: Location = Path("isthmus-data/store")
    """Where collections lie: a folder, made by the writer when absent, or `s3://BUCKET/PREFIX` (`gs://`, `az://`)."""
    store_endpoint: str = Field(default="", pattern=r"^(https?://.+)?$")
    """Of an object store that speaks S3 and is not AWS; unset leaves it to AWS_ENDPOINT_URL."""
    store_region: str = ""
    """Of the bucket; unset leaves it to AWS_REGION."""
    import_dir: Location | None = None
    """Where a writer takes files of rows from, and from nowhere else: a folder, or a place in an object store that the
    store's endpoint and region reach; unset imports nothing."""
    durability: Literal["power", "process"] = "power"
    """What an acknowledgement survives: `power` syncs every new file and its folder first; `process` leaves that to
    the operating system and survives the death of the process only."""
    group_max_rows: int = Field(default=4096, ge=1, le=100_000)
    """Rows that concurrent mutations may put into one commit."""
    queue_max_rows: int = Field(default=32_768, ge=1_000, le=1_000_000)
    """Rows of a collection that may wait for a commit; more are refused with QUEUE_FULL."""
    request_ids_count: int = Field(default=100_000, ge=1)
    """Mutations of a collection whose request id is remembered, newest first."""
    compact_fan_out: int = Field(default=32, ge=4, le=1024)
    """Fragments (files, one a commit) of one size that are merged into one, in the background."""
    keep_versions_s: float = Field(default=300.0, ge=1.0)
    """Age at which versions of the store that nobody needs any more are removed, for readers that are still at them."""
    poll_interval_s: float | None = Field(default=None, gt=0.0, le=3600.0)
    """How often a searcher looks for new revisions unasked; unset means 0.1 s in a folder and 2 s in an object store,
    where each look costs a request a collection, one a tenant and one more. While a searcher hears the writer, it
    looks at an object store every 30 s at most."""
    writer_address: str = ""
    """The index writer, which a searcher hears of commits from: `HOST:PORT`, `unix:PATH` or, on Ray, `serve://…`.
    Unset looks at the store every `poll_interval_s` alone."""
    announce_max_s: float | None = Field(default=None, gt=0.0, le=3600.0)
    """How long one stream of a writer's announcements lasts before the searcher asks again. Unset means for ever; on
    Ray a leaving replica waits for the calls that run, so there it is two seconds."""
    disk_reserve_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """What upserts and new collections leave free of a folder's disk; below it they are refused with DISK_FULL, while
    items can be deleted still."""
    epoch_interval_s: float = Field(default=5.0, gt=0.0, le=3600.0)
    """How often a writer that has nothing to commit looks whether another one has taken over the store."""
    claim: Literal["start", "first_call"] = "start"
    """When a writer takes the store from the one before it: when it starts, and then never again; or when it is called
    first, so that one that waits beside the active one, as in a blue/green upgrade, leaves that alone."""
    revision_wait_s: float = Field(default=5.0, ge=0.0)
    """How long a read waits for its `min_revision` at most."""
    search_threads: int = Field(default=os.cpu_count() or 1, ge=1, le=256)
    """Searches that run at once; a search that runs alone uses as many threads."""
    search_queue_count: int = Field(default=256, ge=1)
    """Searches that may wait for a thread; more are refused with OVERLOADED."""
    cache_dir: Path | None = None
    """A folder of this machine, this process's own, where a searcher keeps its segments between starts, and vectors
    that structures stand for in memory; unset keeps none. What lies there is worth nothing: it is checked, and read
    from the store where it is damaged or missing."""
    cache_rest_s: float = Field(default=10.0, ge=0.0)
    """How long a structure must have stood as it is before it is written there."""
    flat_max_rows: int = Field(default=100_000, ge=0)
    """Items of a modality up to which all vectors are searched, where a collection leaves the choice to searchers."""
    structure_min_rows: int = Field(default=16_384, ge=1)
    """Items from which a segment is given a structure; smaller ones are searched exactly."""
    structure_recall_min: float = Field(default=0.95, gt=0.0, le=1.0)
    """Recall@10 on queries of the other modality that structures are tuned to."""
    structures_max_bytes: int | None = Field(default=None, ge=1)
    """What the vectors and structures of all collections may take together while structures are built: what would take
    more is not built, and all vectors are searched on. Unset means 60 % of the memory that this process may take."""
    probe_cpu_share: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of one CPU that measuring recall in the background takes while it runs; 0 measures none."""
    probe_interval_s: float = Field(default=300.0, ge=0.0)
    """How long after recall was measured it is measured again at the earliest, where items or queries have changed."""
    shadow_share: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of the searches of a collection with a shadow aligner that are asked of that too, chosen by their request
    id; 0 builds nothing for shadows."""
    shadow_max_bytes: int = Field(default=1 << 30, ge=0)
    """Memory that the structures of all shadow aligners may take together; one that does not fit is not built."""

    shard_count: int = 1
    """Parts that every collection is split into by item id, 1 to 64; each is held by a group of searchers."""
    shard_number: int = 0
    """The part that this searcher holds, from 0."""

    @model_validator(mode="after")
    def _check_shard(self) -> Self:
        if not self.shard.is_whole and self.role == "writer":
            msg = "shard_count is for searchers: one writer writes all parts"
            raise ValueError(msg)
        return self

    @property
    def shard(self) -> Shard:
        """Return the part of each collection that a searcher holds."""
        return Shard(self.shard_number, self.shard_count)

    @property
    def poll_every_s(self) -> float:
        """Return how often a searcher looks for news."""
        if self.poll_interval_s is not None:
            return self.poll_interval_s
        return _POLL_FOLDER_S if isinstance(self.store_dir, Path) else _POLL_OBJECT_STORE_S

    @property
    def object_store(self) -> ObjectStore:
        """Return how an object store is reached."""
        return ObjectStore(endpoint=self.store_endpoint, region=self.store_region)
