"""What may be loaded, what is refused, and what the refusal says."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from isthmus.core.modality import Modality
from isthmus.encoders import EncoderLoadError, EncoderSpec, load_image_tower, load_text_tower, pull_model
from isthmus.encoders.folder import default_encoder_id

hf: Any = importlib.import_module("transformers")  # typed in parts only


@pytest.fixture
def copy(bert_folder: Path, tmp_path: Path) -> Path:
    """A BERT folder that a test may spoil."""
    return Path(shutil.copytree(bert_folder, tmp_path / "copy"))


class TestSafetensorsOnly:
    """Weights that can run code when read are never read."""

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "weights.pt"])
    def test_pickled_weights_alone_are_refused(self, copy: Path, name: str) -> None:
        """A folder with only pickled weights is refused, and the message names the file."""
        torch.save(load_file(copy / "model.safetensors"), copy / name)
        (copy / "model.safetensors").unlink()
        with pytest.raises(EncoderLoadError, match=f"no model.safetensors.*{name}.*refused"):
            load_text_tower(EncoderSpec(model=str(copy)))

    def test_pickled_weights_beside_are_not_read(self, copy: Path) -> None:
        """Beside safetensors they are ignored, even when they are rubbish."""
        (copy / "pytorch_model.bin").write_bytes(b"rubbish")
        assert load_text_tower(EncoderSpec(model=str(copy))).info.dimension == 32

    def test_shards_are_read(self, copy: Path) -> None:
        """Weights in several safetensors files with an index are as good as in one."""
        whole = load_text_tower(EncoderSpec(model=str(copy))).forward_raw
        tensors = load_file(copy / "model.safetensors")
        (copy / "model.safetensors").unlink()
        names = sorted(tensors)
        for number, part in enumerate((names[::2], names[1::2]), start=1):
            shard = {name: tensors[name] for name in part}
            save_file(shard, copy / f"model-{number:05}-of-00002.safetensors", metadata={"format": "pt"})
        weight_map = {name: f"model-{1 + index % 2:05}-of-00002.safetensors" for index, name in enumerate(names)}
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (copy / "model.safetensors.index.json").write_text(json.dumps(index))
        tower = load_text_tower(EncoderSpec(model=str(copy)))
        assert (tower.forward_raw([tower.prepare("a dog")]) == whole([tower.prepare("a dog")])).all()

    def test_a_missing_shard_is_named(self, copy: Path) -> None:
        """An index that names a file which is not there is refused before anything is loaded."""
        (copy / "model.safetensors").unlink()
        index = {"weight_map": {"embeddings.word_embeddings.weight": "model-00001-of-00001.safetensors"}}
        (copy / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(EncoderLoadError, match="1 of 1 weight files"):
            load_text_tower(EncoderSpec(model=str(copy)))


class TestNoRemoteCode:
    """A model folder never runs code of its own."""

    @pytest.mark.parametrize("model_type", ["bert", "unheard-of"])
    def test_code_in_the_folder_is_not_run(self, copy: Path, model_type: str) -> None:
        """A folder that maps its classes to a file of its own is read with known classes, or refused; never run."""
        witness = copy / "witness"
        (copy / "modeling_own.py").write_text(f"open({str(witness)!r}, 'w').write('ran')\nclass Own: ...\n")
        config = json.loads((copy / "config.json").read_text())
        own = "modeling_own.Own"
        config |= {"model_type": model_type, "auto_map": {"AutoConfig": own, "AutoModel": own}}
        (copy / "config.json").write_text(json.dumps(config))
        if model_type == "bert":
            assert load_text_tower(EncoderSpec(model=str(copy))).info.dimension == 32
        else:
            with pytest.raises(EncoderLoadError, match="cannot load it"):
                load_text_tower(EncoderSpec(model=str(copy)))
        assert not witness.exists()


class TestMissingWeights:
    """Random weights are never served."""

    def test_a_missing_layer_is_refused(self, copy: Path) -> None:
        """A checkpoint without one of its layers is refused; transformers alone would fill it with random numbers."""
        tensors = load_file(copy / "model.safetensors")
        del tensors["encoder.layer.1.output.dense.weight"]
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(EncoderLoadError, match="1 weights are missing"):
            load_text_tower(EncoderSpec(model=str(copy)))

    def test_a_missing_projection_is_refused(self, dual_folder: Path, tmp_path: Path) -> None:
        """A dual encoder made of two backbones and never trained has no projections: it is refused."""
        folder = Path(shutil.copytree(dual_folder, tmp_path / "copy"))
        tensors = load_file(folder / "model.safetensors")
        del tensors["visual_projection.weight"]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(EncoderLoadError, match="visual_projection"):
            load_image_tower(EncoderSpec(model=str(folder)))

    def test_a_missing_text_pooler_does_not_matter(self, copy: Path) -> None:
        """A BERT without pooler is complete: the pooler is not used."""
        tensors = {name: value for name, value in load_file(copy / "model.safetensors").items() if "pooler" not in name}
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        assert load_text_tower(EncoderSpec(model=str(copy))).info.dimension == 32


class TestWhereModelsComeFrom:
    """Folders, the local cache of the hub, and nothing else unless asked."""

    def test_a_hub_id_that_is_not_cached_names_the_command(self) -> None:
        """Without leave to download, an unknown id is refused with the command that fetches it."""
        with pytest.raises(EncoderLoadError, match="isthmus models pull nobody/no-such-model"):
            load_text_tower(EncoderSpec(model="nobody/no-such-model"))

    def test_a_name_that_is_neither_is_refused(self, tmp_path: Path) -> None:
        """A path that does not exist is not tried on the hub."""
        with pytest.raises(EncoderLoadError, match="neither a folder nor a hub id"):
            load_text_tower(EncoderSpec(model=str(tmp_path / "nothing")))

    def test_pulling_without_network_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the hub cannot be reached, the message says that and names the model."""
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(EncoderLoadError, match=r"nobody/no-such-model.*cannot be reached"):
            pull_model("nobody/no-such-model")

    def test_a_folder_without_config_is_refused(self, tmp_path: Path) -> None:
        """An empty folder is no model."""
        with pytest.raises(EncoderLoadError, match=r"no config\.json"):
            load_image_tower(EncoderSpec(model=str(tmp_path)))

    def test_a_text_model_is_no_image_encoder(self, bert_folder: Path) -> None:
        """A model of the other modality is refused at start."""
        with pytest.raises(EncoderLoadError):
            load_image_tower(EncoderSpec(model=str(bert_folder)))

    def test_an_image_model_is_no_text_encoder(self, vit_folder: Path) -> None:
        """A model of the other modality is refused at start."""
        with pytest.raises(EncoderLoadError):
            load_text_tower(EncoderSpec(model=str(vit_folder)))

    def test_cuda_without_a_gpu_is_refused(self, bert_folder: Path) -> None:
        """Asking for a GPU where there is none is an error, not a silent CPU."""
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        with pytest.raises(EncoderLoadError, match="no GPU"):
            load_text_tower(EncoderSpec(model=str(bert_folder), device="cuda"))


class TestSentenceLayout:
    """What `modules.json` asks for and cannot be given is refused: leaving it out would give other embeddings."""

    @pytest.mark.parametrize(
        ("file", "content", "match"),
        [
            (
                "modules.json",
                [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.WordWeights"}],
                "WordWeights",
            ),
            (
                "modules.json",
                [
                    {"path": "", "type": "x.Transformer"},
                    {"path": "1_Pooling", "type": "x.Pooling"},
                    {"path": "2_Dense", "type": "x.Dense"},
                ],
                "Dense",
            ),
            ("1_Pooling/config.json", {"pooling_mode": "weightedmean"}, "weightedmean"),
            ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "cls.mean"),
        ],
    )
    def test_what_is_not_supported_is_refused(
        self, sentence_folder: Path, tmp_path: Path, file: str, content: object, match: str
    ) -> None:
        """The message names the module or the pooling mode."""
        folder = Path(shutil.copytree(sentence_folder, tmp_path / "copy"))
        (folder / file).write_text(json.dumps(content))
        with pytest.raises(EncoderLoadError, match=match):
            load_text_tower(EncoderSpec(model=str(folder)))

    @pytest.mark.parametrize("mode", ["cls", "mean", "max", "lasttoken"])
    def test_pooling_modes_equal_the_library(
        self, sentence_folder: Path, tmp_path: Path, texts: list[str], mode: str
    ) -> None:
        """Each pooling mode, in the new notation, gives what sentence-transformers gives."""
        library = pytest.importorskip("sentence_transformers")
        folder = Path(shutil.copytree(sentence_folder, tmp_path / "copy"))
        settings = {"embedding_dimension": 32, "pooling_mode": mode}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
        reference = library.SentenceTransformer(str(folder), device="cpu").encode(texts)
        tower = load_text_tower(EncoderSpec(model=str(folder), precision="fp32"))
        ours = tower.forward([tower.prepare(text) for text in texts])
        assert (ours * reference).sum(axis=1).min() >= 0.999  # measured 0.99986: `ours` has length 1 within rounding

    def test_the_default_prompt_goes_before_every_text(self, sentence_folder: Path, tmp_path: Path) -> None:
        """A folder whose default prompt is named gets it, as sentence-transformers would add it."""
        library = pytest.importorskip("sentence_transformers")
        folder = Path(shutil.copytree(sentence_folder, tmp_path / "copy"))
        settings = {"prompts": {"query": "a red boat "}, "default_prompt_name": "query"}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
        reference = library.SentenceTransformer(str(folder), device="cpu").encode(["the dog"])
        tower = load_text_tower(EncoderSpec(model=str(folder), precision="fp32"))
        assert (tower.forward([tower.prepare("the dog")]) * reference).sum() >= 0.999  # measured 1.00005: as above


class TestContext:
    """The longest text is the least of all limits."""

    def test_positions_that_roberta_spends_on_padding_do_not_count(self, bert_folder: Path, tmp_path: Path) -> None:
        """RoBERTa with 34 positions and padding index 1 takes 32 tokens."""
        config = hf.RobertaConfig(
            vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=34, pad_token_id=1,
        )  # fmt: skip
        hf.RobertaModel(config).save_pretrained(tmp_path)
        tokenizer = hf.AutoTokenizer.from_pretrained(bert_folder)
        tokenizer.model_max_length = int(1e30)
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        tokenizer.save_pretrained(tmp_path)
        tower = load_text_tower(EncoderSpec(model=str(tmp_path)))
        assert tower.info.context_tokens == 32
        assert tower.forward([tower.prepare("a dog " * 50)]).shape == (1, 32)


class TestEncoderId:
    """The name in the space."""

    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            ("openai/clip-vit-base-patch32", "clip-vit-base-patch32"),
            ("/models/Tiny-CLIP.v1", "tiny-clip-v1"),
            ("google/SigLIP_base", "siglip_base"),
            ("x/" + "a" * 90, "a" * 63),
        ],
    )
    def test_it_is_made_from_the_last_part_of_the_name(self, model: str, expected: str) -> None:
        """Lower case, everything else but `_` and `-` becomes `-`, 63 characters at most."""
        assert default_encoder_id(EncoderSpec(model=model), Modality.IMAGE) == expected

    def test_one_that_is_given_wins(self, bert_folder: Path) -> None:
        """An id from the configuration is used as it is."""
        tower = load_text_tower(EncoderSpec(model=str(bert_folder), encoder_id="mine"))
        assert tower.info.space.startswith("mine@")
