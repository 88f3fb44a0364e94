"""The protos keep their own rules: comments, limits, lint, compatibility, and generated code that is current."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf import descriptor_pb2

from isthmus.runtime.base import limits

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
BUF = Path(sys.executable).with_name("buf")

_Field = descriptor_pb2.FieldDescriptorProto

# Numbers of fields in descriptor.proto, from which the paths of source locations are made.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ONEOFS = 2, 3, 8
_ENUM_VALUES, _SERVICE_METHODS = 2, 2


class Commented(NamedTuple):
    """One declaration with its comment.

    Attributes:
        name: Full name without the package.
        comment: As one line.
        field: Its descriptor, when it is a field.
        repeated: True for a repeated field that is not a map.
        map_field: True for a map.
    """

    name: str
    comment: str
    field: descriptor_pb2.FieldDescriptorProto | None = None
    repeated: bool = False
    map_field: bool = False


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[descriptor_pb2.FileDescriptorProto]:
    """Every proto file of ours, with its comments."""
    out = tmp_path_factory.mktemp("protos") / "protos.binpb"
    subprocess.run([BUF, "build", PROTOS, "--as-file-descriptor-set", "-o", out], check=True)
    found = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    return [file for file in found.file if file.package == "isthmus.v1"]


def _declarations(file: descriptor_pb2.FileDescriptorProto) -> Iterator[Commented]:
    """Yield every message, field, oneof, enum, value, service and method of a file."""
    comments = {
        tuple(location.path): " ".join(location.leading_comments.split()) for location in file.source_code_info.location
    }

    def at(*path: int) -> str:
        return comments.get(path, "")

    for m, message in enumerate(file.message_type):
        maps = {nested.name for nested in message.nested_type if nested.options.map_entry}
        yield Commented(message.name, at(_FILE_MESSAGES, m))
        for f, field in enumerate(message.field):
            is_map = field.type_name.rpartition(".")[2] in maps
            repeated = field.label == _Field.LABEL_REPEATED and not is_map
            comment = at(_FILE_MESSAGES, m, _MESSAGE_FIELDS, f)
            yield Commented(f"{message.name}.{field.name}", comment, field, repeated, is_map)
        for o, oneof in enumerate(message.oneof_decl):
            # A proto3 `optional` field is a oneof of its own to the compiler, and has no comment of its own.
            if not oneof.name.startswith("_"):
                yield Commented(f"{message.name}.{oneof.name}", at(_FILE_MESSAGES, m, _MESSAGE_ONEOFS, o))
    for e, enum in enumerate(file.enum_type):
        yield Commented(enum.name, at(_FILE_ENUMS, e))
        for v, value in enumerate(enum.value):
            yield Commented(f"{enum.name}.{value.name}", at(_FILE_ENUMS, e, _ENUM_VALUES, v))
    for s, service in enumerate(file.service):
        yield Commented(service.name, at(_FILE_SERVICES, s))
        for r, method in enumerate(service.method):
            yield Commented(f"{service.name}.{method.name}", at(_FILE_SERVICES, s, _SERVICE_METHODS, r))


@pytest.fixture(scope="module")
def declared(files: list[descriptor_pb2.FileDescriptorProto]) -> list[Commented]:
    """Every declaration of all files."""
    found = [declaration for file in files for declaration in _declarations(file)]
    assert len(found) > 200
    return found


def test_the_walk_sees_every_message(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    """No message declares another one inside itself (maps aside), so that walking the top level is walking all."""
    for file in files:
        for message in file.message_type:
            assert all(nested.options.map_entry for nested in message.nested_type), message.name


def test_everything_is_commented(declared: list[Commented]) -> None:
    """Messages, fields, oneofs, enums, values, services and methods say what they mean, in a whole sentence."""
    missing = [declaration.name for declaration in declared if not declaration.comment]
    assert missing == []
    assert [d.name for d in declared if not d.comment.endswith(".")] == []


def test_every_field_says_who_sets_it(declared: list[Commented]) -> None:
    """A field begins with Required, Optional or Output only; members of a oneof leave that to the oneof."""
    begins = re.compile(r"(Required|Optional|Output only)\b")
    for declaration in declared:
        field = declaration.field
        if field is None or (field.HasField("oneof_index") and not field.proto3_optional):
            continue
        assert begins.match(declaration.comment), f"{declaration.name}: {declaration.comment}"


def test_every_repeated_field_states_its_maximum(declared: list[Commented]) -> None:
    """A list without an end is a promise nobody can keep."""
    without = [d.name for d in declared if d.repeated and not re.search(r"maximum of \d+\b", d.comment)]
    assert without == []


def _maximum(comment: str) -> int:
    found = re.search(r"maximum of (\d+)\b", comment)
    assert found is not None
    return int(found[1])


# Which constant of runtime.base.limits a repeated field's maximum is. A message not named here has maxima of its own.
_COUNTS = {
    "EmbedRequest.inputs": limits.EMBED_MAX_COUNT,
    "EmbedResponse.errors": limits.EMBED_MAX_COUNT,
    "EmbedResponse.truncated_indexes": limits.EMBED_MAX_COUNT,
    "EmbeddingBatch.input_indexes": limits.EMBED_MAX_COUNT,
    "UpsertItemsRequest.items": limits.UPSERT_MAX_COUNT,
    "UpsertItemsResponse.errors": limits.UPSERT_MAX_COUNT,
    "UpsertItemsResponse.truncated_indexes": limits.UPSERT_MAX_COUNT,
    "ImportFilesRequest.files": limits.IMPORT_FILES_MAX_COUNT,
    "ImportFilesResponse.files": limits.IMPORT_FILES_MAX_COUNT,
    "ImportFilesResponse.errors": limits.IMPORT_FILES_MAX_COUNT,
    "ImportedFile.errors": limits.IMPORT_FILE_MAX_ROWS,
    "DeleteItemsRequest.ids": limits.UPSERT_MAX_COUNT,
    "EraseItemsRequest.ids": limits.UPSERT_MAX_COUNT,
    "GetItemsRequest.ids": limits.UPSERT_MAX_COUNT,
    "GetItemsResponse.items": limits.UPSERT_MAX_COUNT,
    "SearchItemsResponse.neighbors": limits.TOP_K_MAX_COUNT,
    "BatchSearchItemsRequest.queries": limits.BATCH_QUERIES_MAX_COUNT,
    "BatchSearchItemsResponse.results": limits.BATCH_QUERIES_MAX_COUNT,
    "BatchSearchItemsResponse.errors": limits.BATCH_QUERIES_MAX_COUNT,
    "QueryResult.neighbors": limits.TOP_K_MAX_COUNT,
    "MatchPairsRequest.pairs": limits.MATCH_MAX_COUNT,
    "MatchPairsResponse.matches": limits.MATCH_MAX_COUNT,
    "MatchPairsResponse.errors": limits.MATCH_MAX_COUNT,
    "MatchPairsResponse.truncated_indexes": limits.MATCH_MAX_COUNT,
    "ProposeLinksResponse.links": limits.LINKS_MESSAGE_MAX_COUNT,
    "UpsertItem.attributes": limits.ATTRIBUTES_MAX_COUNT,
    "Item.attributes": limits.ATTRIBUTES_MAX_COUNT,
    "SearchRequest.examples": limits.EXAMPLES_MAX_COUNT,
    "ExampleVectors.weights": limits.EXAMPLES_MAX_COUNT,
    "Examples.examples": limits.EXAMPLES_MAX_COUNT,
    "SearchRequest.exclude_ids": limits.EXAMPLES_MAX_COUNT,
    "AttributeIn.values": limits.FILTER_VALUES_MAX_COUNT,
    "FilterList.filters": limits.FILTER_MAX_COUNT,
}


def test_maxima_of_the_public_api_equal_the_constants(declared: list[Commented]) -> None:
    """What a comment promises is what `runtime.base.limits` enforces."""
    stated = {d.name: _maximum(d.comment) for d in declared if d.name in _COUNTS}
    assert stated == _COUNTS


def test_no_maximum_exceeds_the_constant_it_could_be(declared: list[Commented]) -> None:
    """Inside the mesh the same batches travel: requests of items, ids and inputs keep the public maxima."""
    least_upper = {
        "inputs": limits.EMBED_MAX_COUNT,
        "queries": limits.EMBED_MAX_COUNT,
        "items": limits.UPSERT_MAX_COUNT,
        "ids": limits.UPSERT_MAX_COUNT,
        "neighbors": limits.TOP_K_MAX_COUNT,
    }
    for declaration in declared:
        name = declaration.name.rpartition(".")[2]
        if declaration.repeated and name in least_upper:
            assert _maximum(declaration.comment) <= least_upper[name], declaration.name


_MIB, _KIB = 1024 * 1024, 1024


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("Input.image", f"at most {limits.IMAGE_MAX_BYTES // _MIB} MiB"),
        ("Input.image", f"{limits.IMAGE_MAX_PX:,} pixels"),
        ("Input.image", f"{limits.IMAGE_MAX_SIDE_PX:,} pixels a side"),
        ("Input.text", f"at most {limits.TEXT_MAX_BYTES // _KIB} KiB"),
        ("UpsertItem.text", f"at most {limits.TEXT_MAX_BYTES // _KIB} KiB"),
        ("SearchItemsRequest.text", f"at most {limits.TEXT_MAX_BYTES // _KIB} KiB"),
        ("UpsertItem.id", f"1 to {limits.ID_MAX_BYTES} bytes"),
        ("UpsertItem.pair_key", f"at most {limits.ID_MAX_BYTES} bytes"),
        ("UpsertItem.thumbnail", f"at most {limits.THUMBNAIL_MAX_BYTES // _KIB} KiB"),
        ("UpsertItem.attributes", f"at most {limits.ATTRIBUTES_MAX_BYTES // _KIB} KiB"),
        ("AttributeValue.string_value", f"at most {limits.ATTRIBUTE_VALUE_MAX_BYTES // _KIB} KiB"),
        ("Filter", f"At most {limits.FILTER_DEPTH_MAX_COUNT} filters deep, {limits.FILTER_MAX_COUNT} filters in all"),
        ("Filter", f"and {limits.FILTER_MAX_BYTES // _KIB} KiB together"),
        ("Vectors.dimension", f"1 to {limits.DIMENSION_MAX_COUNT}"),
        ("SearchQuery.text", f"at most {limits.TEXT_MAX_BYTES // _KIB} KiB"),
        (
            "SearchItemsRequest.keywords",
            f"at most {limits.KEYWORDS_MAX_BYTES // _KIB} KiB and {limits.KEYWORDS_MAX_COUNT} different terms",
        ),
        ("BatchSearchItemsRequest.top_k", f"may be {limits.BATCH_NEIGHBORS_MAX_COUNT} at most"),
        ("Example.text", f"at most {limits.TEXT_MAX_BYTES // _KIB} KiB"),
        ("Example.weight", f"-{limits.EXAMPLE_WEIGHT_MAX:.0f} to {limits.EXAMPLE_WEIGHT_MAX:.0f}"),
        (
            "SearchItemsRequest.mmr_lambda",
            f"the best {limits.DEPTH_FACTOR} x `top_k`, at least {limits.DEPTH_MIN_COUNT}",
        ),
        ("SearchItemsRequest.mmr_lambda", f"at most {limits.DEPTH_MAX_COUNT}"),
        ("SearchItemsRequest.page_token", f"The first {limits.PAGE_DEPTH_MAX_COUNT} answers"),
        ("SearchRequest.offset", f"0 to {limits.PAGE_DEPTH_MAX_COUNT}"),
        ("SearchItemsRequest.top_k", f"1 to {limits.TOP_K_MAX_COUNT}; unset means {limits.TOP_K_DEFAULT_COUNT}"),
        ("PairToMatch.text", f"at most {limits.TEXT_MAX_BYTES // _KIB} KiB"),
        ("AuditPairsRequest.top_count", f"0 to {limits.AUDIT_MAX_COUNT:,}; unset means {limits.AUDIT_DEFAULT_COUNT}"),
        ("AlignerArtefact.manifest", f"at most {limits.MANIFEST_MAX_BYTES // _MIB} MiB"),
        ("AlignerArtefact.tensors", f"at most {limits.ALIGNER_MAX_BYTES // _MIB} MiB"),
    ],
)
def test_limits_in_comments_equal_the_constants(name: str, phrase: str, declared: list[Commented]) -> None:
    """Bytes, pixels, dimensions: the comment names the number that is enforced."""
    (comment,) = [declaration.comment for declaration in declared if declaration.name == name]
    assert phrase in comment


def test_every_request_id_states_its_length(declared: list[Commented]) -> None:
    """Where a caller sends a request id, its comment says how long it may be."""
    asked = [d for d in declared if d.name.endswith("Request.request_id")]
    assert len(asked) > 5
    for declaration in asked:
        assert f"1 to {limits.REQUEST_ID_MAX_COUNT} characters" in declaration.comment, declaration.name


def test_no_field_names_a_place_to_fetch_from(declared: list[Commented]) -> None:
    """Content travels as bytes: nothing in the API makes a server open a URL or a path."""
    words = {"url", "uri", "path", "href", "link"}
    assert [d.name for d in declared if d.field is not None and words & set(d.field.name.split("_"))] == []


def test_lint_passes() -> None:
    """`buf lint` has nothing to say."""
    done = subprocess.run([BUF, "lint", PROTOS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_nothing_released_is_broken() -> None:
    """`buf breaking` finds no change that an old client would notice."""
    baseline = PROTOS / "baseline" / "v1.binpb"
    done = subprocess.run([BUF, "breaking", PROTOS, "--against", baseline], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.timeout(300)
def test_generated_code_is_current(tmp_path: Path) -> None:
    """Generating again gives the committed bytes, file for file; the first run on a machine fetches the generator."""
    subprocess.run([sys.executable, ROOT / "tools" / "gen_protos.py", "--into", tmp_path], check=True)

    def contents(folder: Path) -> dict[str, bytes]:
        package = folder / "isthmus" / "v1"
        return {file.name: file.read_bytes() for file in package.iterdir() if file.is_file()}

    fresh, committed = contents(tmp_path), contents(PROTOS / "gen")
    assert sorted(fresh) == sorted(committed)
    assert [name for name in fresh if fresh[name] != committed[name]] == []
