"""The revision of an encoder: a digest of all that shapes its embeddings.

Weights, configuration, preprocessing and tokenizer files go in by the SHA-256 of their bytes, pooling, normalisation
and dimension by name. Device and numeric type stay out: they change an embedding by less than two photographs of one
scene differ (figures in `precision.py`), and a GPU replica and a CPU replica must share one space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from isthmus.encoders.spec import EncoderLoadError

__all__ = ["encoder_revision", "file_sha256", "weight_files"]

_SCHEMA = "isthmus-encoder-1"  # stands for what is fixed in code: RGB, EXIF orientation applied, padding, truncation
_NORMALISATION = "unit-length, rounded to float16"
_INDEX = "model.safetensors.index.json"
_CONFIG_FILES = ("config.json",)
_IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")
_TEXT_FILES = (
    "added_tokens.json",
    "config_sentence_transformers.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex characters.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files that transformers loads from a folder.

    Raises:
        EncoderLoadError: There are none; pickled weights beside do not count.
    """
    single, index = folder / "model.safetensors", folder / _INDEX
    if single.is_file():
        return [single]
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        paths = [folder / Path(shard).name for shard in shards]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            msg = f"{folder}: {len(missing)} of {len(paths)} weight files named in {_INDEX} are missing"
            raise EncoderLoadError(msg)
        return [index, *paths]
    pickled = sorted(path.name for suffix in ("*.bin", "*.pth", "*.pt", "*.ckpt") for path in folder.glob(suffix))
    beside = f"; {', '.join(pickled)} can run code when read and is refused" if pickled else ""
    msg = f"{folder}: no model.safetensors{beside}. Convert the weights to safetensors"
    raise EncoderLoadError(msg)


def encoder_revision(
    folder: Path, *, images: bool, texts: bool, pooling: str, dimension: int, subfolders: Iterable[str] = ()
) -> str:
    """Digest a model folder into a revision of 16 hex characters.

    Args:
        folder: The model folder.
        images: It encodes images: their preprocessing counts.
        texts: It encodes texts: the tokenizer counts.
        pooling: How token or patch vectors become one.
        dimension: Components of an embedding.
        subfolders: Folders of a sentence-transformers layout whose `config.json` counts.

    Raises:
        EncoderLoadError: The folder holds no safetensors weights.
    """
    names = [*_CONFIG_FILES, *(_IMAGE_FILES if images else ()), *(_TEXT_FILES if texts else ())]
    paths = [*weight_files(folder), *(folder / name for name in names)]
    paths += [folder / name / "config.json" for name in subfolders]
    document = {
        "schema": _SCHEMA,
        "modalities": [name for name, there in (("image", images), ("text", texts)) if there],
        "files": {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths if path.is_file()},
        "pooling": pooling,
        "normalisation": _NORMALISATION,
        "dimension": dimension,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
