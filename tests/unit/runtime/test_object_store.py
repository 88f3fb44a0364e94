"""Where a process keeps things: settings in, options for Lance and a file system of Arrow out."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import fs
from pydantic import TypeAdapter, ValidationError

from isthmus.runtime.base.object_store import Location, ObjectStore

_LOCATION: TypeAdapter[Path | str] = TypeAdapter(Location)
_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_REGION", "AWS_DEFAULT_REGION")


@pytest.fixture(autouse=True)
def _no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("folder", ["data/store", Path("data/store")])
def test_a_folder_is_a_path(folder: Path | str) -> None:
    """Nothing of Lance's options applies to it."""
    assert _LOCATION.validate_python(folder) == Path("data/store")
    assert ObjectStore().lance_options("data/store") is None


def test_a_uri_is_kept_but_for_a_slash_at_its_end() -> None:
    """A path would lose one of its two slashes."""
    assert _LOCATION.validate_python("s3://bucket/prefix/") == "s3://bucket/prefix"


@pytest.mark.parametrize("uri", ["http://host/x", "s3://", "s3://key:secret@bucket/x", "s3://bucket/x?endpoint=y"])
def test_other_uris_are_refused_without_being_quoted(uri: str) -> None:
    """Credentials and options have other places."""
    with pytest.raises(ValidationError) as caught:
        _LOCATION.validate_python(uri)
    assert "secret" not in caught.value.errors(include_input=False)[0]["msg"]


def test_settings_come_before_the_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both libraries are sent to one endpoint; only an http endpoint is spoken to in the clear."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    from_environment = ObjectStore().lance_options("s3://bucket")
    assert from_environment is not None
    assert from_environment["aws_endpoint"] == "http://127.0.0.1:9000"
    assert (from_environment["allow_http"], from_environment["aws_region"]) == ("true", "eu-central-1")
    settings = ObjectStore(endpoint="https://store.example", region="nowhere").lance_options("s3://bucket")
    assert settings is not None
    assert settings["aws_endpoint"] == "https://store.example"
    assert (settings["allow_http"], settings["aws_region"]) == ("false", "nowhere")


def test_a_file_system_is_made_of_the_same_settings() -> None:
    """Its paths begin with the bucket."""
    system, path = ObjectStore(endpoint="http://127.0.0.1:9000", region="here").file_system("s3://bucket/a/b")
    assert isinstance(system, fs.S3FileSystem)
    assert (system.region, path) == ("here", "bucket/a/b")
    system, path = ObjectStore().file_system(Path("a/b"))
    assert isinstance(system, fs.LocalFileSystem)
    assert path == "a/b"
