"""Configuration is frozen, bounded, and takes no misspelt variable."""

from __future__ import annotations

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from isthmus.runtime.base.config import ProcessConfig


class ProbeConfig(ProcessConfig):
    """A process that exists in this test only."""

    model_config = SettingsConfigDict(env_prefix="ISTHMUS_PROBE_", frozen=True, extra="forbid")

    batch_count: int = Field(default=8, ge=1, le=64)
    """Items a batch."""


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument that is given wins; one that is None leaves the environment's word."""
    monkeypatch.setenv("ISTHMUS_PROBE_BATCH_COUNT", "16")
    assert ProbeConfig.load(batch_count=None).batch_count == 16
    assert ProbeConfig.load(batch_count=4).batch_count == 4


def test_a_misspelt_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with the process's prefix that names no setting is an error that names the variable."""
    monkeypatch.setenv("ISTHMUS_PROBE_BATCH_COUNTS", "16")
    with pytest.raises(ValueError, match="ISTHMUS_PROBE_BATCH_COUNTS"):
        ProbeConfig.load()


def test_a_value_out_of_bounds_stops_the_start() -> None:
    """Bounds hold for arguments too."""
    with pytest.raises(ValidationError):
        ProbeConfig.load(batch_count=65)


def test_a_configuration_cannot_be_changed() -> None:
    """Nothing can be set after the start."""
    with pytest.raises(ValidationError):
        ProbeConfig.load().batch_count = 9
