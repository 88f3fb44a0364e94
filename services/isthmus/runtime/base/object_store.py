"""Where a process keeps things: a folder, or a place in an object store, reached alike by Lance and by Arrow.

Credentials are never settings of ours: both libraries take them from the cloud's standard environment variables, files
and instance roles.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pyarrow import fs
from pydantic import BeforeValidator

__all__ = ["Location", "ObjectStore"]

_SCHEMES: Final = ("s3", "gs", "az")
_ENDPOINT_VARIABLES: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_REGION_VARIABLES: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_CONNECT_TIMEOUT_S: Final = 3
_REQUEST_TIMEOUT_S: Final = 10
_RETRIES_COUNT: Final = 2
_RETRY_TIMEOUT_S: Final = 10


def _location(value: object) -> object:
    """Return a Path for a folder; a URI as it is, without a slash at its end."""
    if not isinstance(value, str) or "://" not in value:
        return Path(value) if isinstance(value, str) else value
    parts = urlsplit(value)
    if parts.scheme not in _SCHEMES or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
        msg = f"must be a folder or SCHEME://BUCKET/PREFIX without credentials, SCHEME one of {', '.join(_SCHEMES)}"
        raise ValueError(msg)
    return value.rstrip("/")


Location = Annotated[Path | str, BeforeValidator(_location)]
"""A setting: a folder, or the URI of a place in an object store, `s3://BUCKET/PREFIX` (or `gs://`, `az://`)."""


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """How an object store is reached. Requests are bounded, so that a store that does not answer is an error soon.

    Attributes:
        endpoint: Of a store that speaks S3, `https://HOST:PORT`; empty leaves it to AWS_ENDPOINT_URL, then to the
            cloud. Only `http://` is spoken in the clear.
        region: Empty leaves it to AWS_REGION, then to the bucket.
    """

    endpoint: str = ""
    region: str = ""

    def lance_options(self, uri: str) -> dict[str, str] | None:
        """Return what Lance calls `storage_options`; None for a folder."""
        if "://" not in uri:
            return None
        options = {
            "connect_timeout": f"{_CONNECT_TIMEOUT_S} s",
            "timeout": f"{_REQUEST_TIMEOUT_S} s",
            "client_max_retries": str(_RETRIES_COUNT),
            "client_retry_timeout": str(_RETRY_TIMEOUT_S),
        }
        endpoint, region = self._endpoint(), self._region()
        if uri.startswith("s3://") and endpoint:
            options |= {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
            region = region or "us-east-1"  # a store that is not AWS takes any
        if uri.startswith("s3://") and region:
            options["aws_region"] = region
        return options

    def file_system(self, location: Path | str) -> tuple[fs.FileSystem, str]:
        """Return Arrow's file system for a place, and the place's path in it.

        Raises:
            OSError: the store cannot be reached.
        """
        if isinstance(location, Path) or "://" not in location:
            return fs.LocalFileSystem(), str(location)
        parts = urlsplit(location)
        path = f"{parts.netloc}{parts.path}"
        if parts.scheme == "gs":
            return fs.GcsFileSystem(), path
        if parts.scheme == "az":
            return fs.AzureFileSystem(os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")), path
        endpoint = urlsplit(self._endpoint())
        region = self._region() or ("us-east-1" if endpoint.netloc else fs.resolve_s3_region(parts.netloc))
        system = fs.S3FileSystem(
            region=region,
            endpoint_override=f"{endpoint.netloc}{endpoint.path}" or None,
            scheme=endpoint.scheme or "https",
            connect_timeout=_CONNECT_TIMEOUT_S,
            request_timeout=_REQUEST_TIMEOUT_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1 + _RETRIES_COUNT),
        )
        return system, path

    def _endpoint(self) -> str:
        return self.endpoint or next((os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)), "")

    def _region(self) -> str:
        return self.region or next((os.environ[name] for name in _REGION_VARIABLES if os.environ.get(name)), "")
