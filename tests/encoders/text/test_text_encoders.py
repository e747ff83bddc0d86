"""Text encoders: padding and the rest of the batch change nothing; what does not fit is an error."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from equissl.encoders.text import TEXT_ENCODERS, TextEncoder, TextEncoderConfig, TextTransformer

TEXTS = ["a red chair", "a chair", "lit from above, a wooden table turned to the left", "floor"]
WORDS = ["a", "red", "chair", "table", "floor"]
SMALL = {"length": 60, "width": 16, "layers": 2, "heads": 2}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights and a vocabulary of letters and words, as a folder."""
    transformers = pytest.importorskip("transformers", reason="text encoders of Hugging Face need transformers")
    folder = tmp_path_factory.mktemp("bert")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz,"]
    pieces += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    words = folder / "vocab.txt"
    words.write_text("\n".join(dict.fromkeys(pieces)))
    transformers.BertTokenizer(str(words)).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(params=["byte", "word", "mean", "huggingface", "huggingface_start"])
def encoder(request: pytest.FixtureRequest) -> TextEncoder:
    name = request.param
    torch.manual_seed(0)
    if name.startswith("huggingface"):
        pooling = "start" if name.endswith("start") else "mean"
        options = {"folder": str(request.getfixturevalue("bert")), "length": 60, "pooling": pooling}
        return TextEncoderConfig("huggingface", options).build().eval()
    options = {"tokenizer": "word", "vocabulary": WORDS} if name == "word" else {}
    return TextEncoderConfig(
        "transformer", SMALL | options | {"pooling": "mean" if name == "mean" else "start"}
    ).build()


def test_every_encoder_is_tested() -> None:
    assert set(TEXT_ENCODERS) == {"transformer", "huggingface"}


def test_padding_changes_nothing(encoder: TextEncoder) -> None:
    tokens, lengths = encoder.tokenizer.encode(TEXTS, 60)
    features = encoder(tokens, lengths)
    assert features.shape == (4, encoder.feature_dim) and (features[0] - features[1]).abs().max() > 1e-3
    most = int(lengths.max())
    torch.testing.assert_close(encoder(tokens[:, :most], lengths), features)
    alone = torch.cat([encoder(row[None, :size], size[None]) for row, size in zip(tokens, lengths, strict=True)])
    torch.testing.assert_close(alone, features, rtol=1e-4, atol=1e-5)
    behind = torch.arange(60) >= lengths[:, None]
    other = torch.where(behind, torch.arange(60) % 5 + 1, tokens)  # lengths say what is padding, not the number
    torch.testing.assert_close(encoder(other, lengths), features)


def test_order_of_the_batch_is_that_of_the_features(encoder: TextEncoder) -> None:
    tokens, lengths = encoder.tokenizer.encode(TEXTS, 60)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        encoder(tokens[order], lengths[order]), encoder(tokens, lengths)[order], rtol=1e-4, atol=1e-5
    )


def test_states_of_tokens(encoder: TextEncoder) -> None:
    tokens, lengths = encoder.tokenizer.encode(TEXTS, 60)
    states, mask = encoder.dense(tokens, lengths)
    assert states.shape == (4, 60, encoder.feature_dim) and torch.equal(mask.sum(dim=1), lengths)
    assert states[~mask].abs().max() == 0 and states[mask].abs().amax(dim=1).min() > 0
    mean = torch.stack([row[: int(size)].mean(dim=0) for row, size in zip(states, lengths, strict=True)])
    expected = mean if encoder.pooling == "mean" else states[:, 0]
    torch.testing.assert_close(encoder(tokens, lengths), expected)


def test_gradients_reach_every_parameter_that_is_trained(encoder: TextEncoder) -> None:
    """DistributedDataParallel waits for all of them."""
    encoder(*encoder.tokenizer.encode(TEXTS, 60)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("tokens", "lengths", "message"),
    [
        (torch.ones(4), torch.ones(4), r"tokens \(N, L\) and lengths \(N,\), got \(4,\) and \(4,\)"),
        (torch.ones(4, 5).long(), torch.ones(3).long(), r"got \(4, 5\) and \(3,\)"),
        (torch.ones(2, 5), torch.ones(2).long(), "of integers, got torch.float32 and torch.int64"),
        (torch.ones(2, 5).long(), torch.tensor([0, 5]), r"lengths in 1\.\.5, got 0 to 5"),
        (torch.ones(2, 5).long(), torch.tensor([2, 6]), r"lengths in 1\.\.5, got 2 to 6"),
        (torch.ones(2, 70).long(), torch.tensor([2, 61]), r"lengths in 1\.\.60, got 2 to 61"),
        (torch.full((2, 5), 1000), torch.tensor([2, 5]), r"got 1000 to 1000: they come from another tokenizer"),
    ],
)
def test_rows_that_do_not_fit_are_named(encoder: TextEncoder, tokens, lengths, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder(tokens, lengths)


def test_dropout_makes_two_views_of_a_text() -> None:
    encoder = TextTransformer(**SMALL, dropout=0.1)
    rows = encoder.tokenizer.encode(TEXTS, 60)
    assert (encoder(*rows) - encoder(*rows)).abs().max() > 1e-3
    encoder.eval()
    assert torch.equal(encoder(*rows), encoder(*rows))


def test_weights_of_another_vocabulary_are_refused() -> None:
    def word(vocabulary: list[str]) -> TextTransformer:
        return TextTransformer("word", vocabulary, **SMALL)

    saved = {f"text.{name}": value for name, value in word(WORDS).state_dict().items()}
    torch.nn.ModuleDict({"text": word(WORDS)}).load_state_dict(saved)
    with pytest.raises(ValueError, match="trained on tokens of another one"):
        torch.nn.ModuleDict({"text": word(WORDS[::-1])}).load_state_dict(saved)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TextEncoderConfig("transfromer"), "'transfromer'.*'transformer'"),
        (TextEncoderConfig(options={"widht": 4}), "'transformer' has no option 'widht'.*width"),
        (TextEncoderConfig(options={"heads": 5}), "heads that divide the width.*heads=5"),
        (TextEncoderConfig(options={"dropout": 1.0}), r"dropout in \[0, 1\), got .*dropout=1.0"),
        (TextEncoderConfig(options={"pooling": "max"}), "'start' or 'mean' .*got 'max' and 96"),
        (TextEncoderConfig(options={"length": 1}), "length of at least 2, got 'start' and 1"),
        (TextEncoderConfig(options={"tokenizer": "word"}), "'word' with a vocabulary, got 'word' and none"),
        (TextEncoderConfig(options={"vocabulary": ["a"]}), "got 'byte' and one"),
    ],
)
def test_bad_configs_are_named(config: TextEncoderConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config.build()


def test_folders_that_are_no_model_are_named(bert: Path, tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        TextEncoderConfig("huggingface", {"folder": str(folder)}).build()

    with pytest.raises(ValueError, match=r"folder with config\.json"):
        build(tmp_path)
    (tmp_path / "config.json").write_bytes((bert / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"\*\.safetensors, which cannot run code, got none"):
        build(tmp_path)


def test_code_in_a_folder_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        TextEncoderConfig("huggingface", {"folder": str(folder)}).build()
    assert not (tmp_path / "ran").exists()


def test_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'equissl\[text\]'"):
        TextEncoderConfig("huggingface", {"folder": "bert"}).build()
