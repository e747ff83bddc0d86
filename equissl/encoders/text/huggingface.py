"""Text encoders of Hugging Face, from a folder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from equissl.encoders.text.base import Pooling, TextEncoder
from equissl.encoders.text.tokenizer import Tokenizer, fingerprint


class HuggingFaceTokenizer(Tokenizer):
    """A Hugging Face tokenizer with the project's padding and errors; it puts its own first and last tokens.

    Args:
        tokenizer: of ``transformers``.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.size = tokenizer, len(tokenizer)

    def row(self, text: str, length: int) -> list[int]:
        return self.tokenizer(text, truncation=True, max_length=length)["input_ids"]

    def fingerprint(self) -> int:
        numbers = self.tokenizer.get_vocab()
        return fingerprint([type(self.tokenizer).__name__, *sorted(numbers, key=lambda word: (numbers[word], word))])


class HuggingFaceText(TextEncoder):
    """A pretrained encoder in a folder, read without a network, as data alone.

    Nothing of the folder is executed: code in it is refused (``trust_remote_code=False``), and weights are read from
    safetensors files only.

    Args:
        folder: with ``config.json``, the tokenizer's files and ``*.safetensors``, as ``save_pretrained`` writes it.
        length: tokens of a text, at most.
        pooling: see `TextEncoder`; the first token is BERT's ``[CLS]``.

    Raises:
        ImportError: without the library transformers.
        ValueError: for a folder that is none or lacks files, or a model that does not give states of tokens alone.
    """

    def __init__(self, folder: str, length: int = 64, pooling: Pooling = "mean") -> None:
        try:
            from transformers import AutoConfig, AutoModel, AutoTokenizer
        except ImportError as error:
            raise ImportError("text encoders of Hugging Face need transformers: pip install 'equissl[text]'") from error
        path = _check_folder(Path(folder))
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(path, **local)
        if getattr(config, "is_encoder_decoder", False) or not hasattr(config, "hidden_size"):
            raise ValueError(f"expected an encoder of texts in {folder}, got {type(config).__name__}")
        tokenizer = HuggingFaceTokenizer(AutoTokenizer.from_pretrained(path, **local))
        super().__init__(tokenizer, length, config.hidden_size, pooling)
        self.model = AutoModel.from_pretrained(path, use_safetensors=True, **local)
        self.padding = config.pad_token_id or 0
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler.requires_grad_(False)  # not used; processes would wait for its gradient

    def states(self, tokens: Tensor, mask: Tensor) -> Tensor:
        # some models count places by their own padding token
        return self.model(tokens.masked_fill(~mask, self.padding), attention_mask=mask.long()).last_hidden_state


def _check_folder(path: Path) -> Path:
    if not path.is_dir() or not (path / "config.json").is_file():
        raise ValueError(f"expected a folder with config.json and the files of a Hugging Face model, got {path}")
    if not any(path.glob("*.safetensors")):
        raise ValueError(f"expected weights in *.safetensors, which cannot run code, got none in {path}")
    return path
