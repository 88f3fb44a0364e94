"""The base of every process's configuration: frozen, from arguments and the environment, with no silent typos."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ProcessConfig", "first_complaint"]

_SHARED = frozenset({"ISTHMUS_ADDRESS", "ISTHMUS_FAILPOINTS", "ISTHMUS_LOG_LEVEL"})
"""Variables that belong to no one process."""


class ProcessConfig(BaseSettings):
    """Settings of one process. A subclass sets `env_prefix`; arguments win over the environment.

    An environment variable that starts with a known prefix of Isthmus and names no setting is an error, so that a
    misspelt limit is noticed at start and not at 3 a.m.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)

    prefixes: ClassVar[dict[str, type[ProcessConfig]]] = {}
    """Every prefix that a loaded configuration class has claimed."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Remember the subclass's prefix."""
        super().__pydantic_init_subclass__(**kwargs)
        prefix = cls.model_config.get("env_prefix", "")
        if prefix:
            ProcessConfig.prefixes[prefix] = cls

    @classmethod
    def load(cls, **arguments: object) -> Self:
        """Build the configuration from `arguments` (None means "not given") and the environment.

        Raises:
            ValueError: a value is out of bounds, or an `ISTHMUS_…` variable names no setting.
        """
        prefix = cls.model_config.get("env_prefix", "")
        known = {f"{prefix}{name}".upper() for name in cls.model_fields}
        nested = cls.model_config.get("env_nested_delimiter")
        unknown = sorted(
            name
            for name in os.environ
            if name.startswith(prefix)
            and name not in known | _SHARED
            and (nested is None or name.partition(nested)[0] not in known)
            and not any(name.startswith(other) for other in ProcessConfig.prefixes if len(other) > len(prefix))
        )
        if unknown:
            msg = f"unknown environment variables: {', '.join(unknown)}"
            raise ValueError(msg)
        return cls.model_validate(cls(**{k: v for k, v in arguments.items() if v is not None}))


def first_complaint(error: ValueError) -> str:
    """Return what is wrong with a configuration as `SETTING: MESSAGE`, without the value that is wrong."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    setting = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{setting}: {message}" if setting else message
