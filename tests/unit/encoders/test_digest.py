"""The revision changes with whatever shapes an embedding, and with nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from isthmus.encoders import EncoderSpec, load_image_tower, load_text_tower
from isthmus.encoders.digest import encoder_revision


def _edit_json(name: str, **changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _touch_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[min(tensors)].view(-1)[0] += 1e-6
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _text_revision(folder: Path) -> str:
    return load_text_tower(EncoderSpec(model=str(folder))).info.revision


def _image_revision(folder: Path) -> str:
    return load_image_tower(EncoderSpec(model=str(folder))).info.revision


class TestRevision:
    """Sixteen hex characters over files, pooling, normalisation and dimension."""

    @pytest.mark.parametrize(
        "edit",
        [
            _touch_weights,
            _edit_json("config.json", layer_norm_eps=1e-5),
            _edit_json("tokenizer_config.json", model_max_length=20),
            _edit_json("sentence_bert_config.json", max_seq_length=9),
            _edit_json("1_Pooling/config.json", pooling_mode_cls_token=False, pooling_mode_mean_tokens=True),
        ],
        ids=["one weight", "model config", "tokenizer", "context", "pooling"],
    )
    def test_what_shapes_a_text_embedding_changes_it(
        self, sentence_folder: Path, tmp_path: Path, edit: Callable[[Path], None]
    ) -> None:
        """Each of these gives another space."""
        folder = Path(shutil.copytree(sentence_folder, tmp_path / "copy"))
        edit(folder)
        assert _text_revision(folder) != _text_revision(sentence_folder)

    @pytest.mark.parametrize(
        "edit",
        [_touch_weights, _edit_json("preprocessor_config.json", image_mean=[0.4, 0.5, 0.6])],
        ids=["one weight", "preprocessing"],
    )
    def test_what_shapes_an_image_embedding_changes_it(
        self, vit_folder: Path, tmp_path: Path, edit: Callable[[Path], None]
    ) -> None:
        """Each of these gives another space."""
        folder = Path(shutil.copytree(vit_folder, tmp_path / "copy"))
        edit(folder)
        assert _image_revision(folder) != _image_revision(vit_folder)

    @pytest.mark.parametrize("name", ["tokenizer_config.json", "preprocessor_config.json"])
    def test_either_half_of_a_dual_encoder_changes_both(self, dual_folder: Path, tmp_path: Path, name: str) -> None:
        """A change that only one half sees still gives both a new, common space."""
        folder = Path(shutil.copytree(dual_folder, tmp_path / "copy"))
        _edit_json(name, model_max_length=20)(folder)
        assert _text_revision(folder) == _image_revision(folder)
        assert _text_revision(folder) != _text_revision(dual_folder)

    def test_what_does_not_matter_leaves_it_alone(self, sentence_folder: Path, tmp_path: Path) -> None:
        """A copy elsewhere, with a README and pickled weights beside, has the same revision."""
        folder = Path(shutil.copytree(sentence_folder, tmp_path / "elsewhere"))
        (folder / "README.md").write_text("A model.")
        (folder / "pytorch_model.bin").write_bytes(b"rubbish")
        assert _text_revision(folder) == _text_revision(sentence_folder)

    def test_device_and_numeric_type_leave_it_alone(self, sentence_folder: Path) -> None:
        """bf16 and fp32 share a space."""
        exact, rough = (
            load_text_tower(EncoderSpec(model=str(sentence_folder), precision=precision)).info
            for precision in ("fp32", "bf16")
        )
        assert exact.revision == rough.revision

    def test_dimension_and_pooling_count(self, bert_folder: Path) -> None:
        """The same files read in another way give another revision."""
        revisions = {
            encoder_revision(bert_folder, images=False, texts=True, pooling=pooling, dimension=dimension)
            for pooling, dimension in (("mean", 32), ("cls", 32), ("mean", 16))
        }
        assert len(revisions) == 3
        assert all(len(revision) == 16 for revision in revisions)
