"""Configuration of the alignment service: arguments, then `ISTHMUS_ALIGNMENT_…` variables, then these defaults."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from isthmus.core.gap import PAIRS_MIN
from isthmus.core.watch import WatchLimits
from isthmus.runtime.base.limits import MEASURE_SAMPLE_MAX_COUNT
from isthmus.runtime.base.object_store import Location, ObjectStore
from isthmus.runtime.base.server_config import CallerConfig

__all__ = ["AlignmentConfig"]


class AlignmentConfig(CallerConfig):
    """Settings of the alignment service."""

    model_config = SettingsConfigDict(
        env_prefix="ISTHMUS_ALIGNMENT_", frozen=True, extra="forbid", env_ignore_empty=True
    )

    aligners_dir: Location = Path("isthmus-data/aligners")
    """Where artefacts lie: a folder, made when absent, or `s3://BUCKET/PREFIX` (`gs://`, `az://`), which several
    alignment processes may share."""
    aligners_endpoint: str = Field(default="", pattern=r"^(https?://.+)?$")
    """Of an object store that speaks S3 and is not AWS; unset leaves it to AWS_ENDPOINT_URL."""
    aligners_region: str = ""
    """Of the bucket; unset leaves it to AWS_REGION."""
    index_search_address: str = "127.0.0.1:7485"
    """The index searcher, which items are read from; of groups of searchers that collections are split over, all
    addresses in the order of their shard numbers, separated by commas."""
    job_threads_count: int = Field(default=1, ge=1, le=64)
    """Fits, evaluations and measurements that run at once."""
    job_queue_count: int = Field(default=4, ge=0, le=1024)
    """Of the same, how many may wait for their turn; more are refused with OVERLOADED."""
    job_max_items_count: int = Field(default=200_000, ge=1)
    """Items of a collection that a fit or an evaluation holds in memory; larger collections are refused."""
    evaluate_max_pairs_count: int = Field(default=10_000, ge=1)
    """Pair keys that one evaluation judges, chosen by their hash; every item stays an answer."""
    measure_max_items_count: int = Field(default=20_000, ge=32)
    """Items that a measurement looks at; of larger collections a share of the pair keys, chosen by their hash."""
    fit_min_pairs_count: int = Field(default=64, ge=2)
    """Pair keys below which `center` is not fitted."""
    names_count: int = Field(default=1_000, ge=1, le=1_000)
    """Names of aligners a tenant may have, the shipped ones included; a list holds them all."""
    cached_aligners_count: int = Field(default=16, ge=1)
    """Aligners kept ready to be applied."""

    watch_interval_s: float = Field(default=900.0, ge=0.0, le=7 * 24 * 3600.0)
    """How often a collection that has changed is looked at, give or take a tenth; 0 watches nothing."""
    watch_changed_share: float = Field(default=0.05, gt=0.0, le=1.0)
    """Share of a collection's items that, stored since the last look, bring the next one forward."""
    watch_sample_count: int = Field(default=2_000, ge=PAIRS_MIN, le=MEASURE_SAMPLE_MAX_COUNT)
    """Pair keys that one look reads."""
    watch_busy_share: float = Field(default=0.1, gt=0.0, le=1.0)
    """Share of one processor that looking may take: after each look it rests in proportion."""
    watch_mean_share: float = Field(default=WatchLimits.mean_share, ge=0.0)
    """Propose a re-fit when a modality's mean has moved by this share of the modality's spread, noise taken off…"""
    watch_mean_floors: float = Field(default=WatchLimits.mean_floors, ge=0.0)
    """…and by so many noise floors."""
    watch_spectrum_share: float = Field(default=WatchLimits.spectrum_share, ge=0.0)
    """The same of its covariance, as a share of the covariance's norm…"""
    watch_spectrum_floors: float = Field(default=WatchLimits.spectrum_floors, ge=0.0)
    """…and by so many noise floors."""
    watch_recall_drop: float = Field(default=WatchLimits.recall_drop, ge=0.0, le=1.0)
    """The same when the recall@10 of held-out pairs has fallen by so much, a difference of two shares in [0, 1], and by
    three standard errors."""

    @property
    def watch_limits(self) -> WatchLimits:
        """Return from where a re-fit is proposed."""
        return WatchLimits(
            mean_share=self.watch_mean_share,
            mean_floors=self.watch_mean_floors,
            spectrum_share=self.watch_spectrum_share,
            spectrum_floors=self.watch_spectrum_floors,
            recall_drop=self.watch_recall_drop,
        )

    @property
    def object_store(self) -> ObjectStore:
        """Return how an object store is reached."""
        return ObjectStore(endpoint=self.aligners_endpoint, region=self.aligners_region)
