"""Text encoders by name, and their config."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from equissl.encoders.text.base import TextEncoder
from equissl.util.registry import Registry, check_options

TEXT_ENCODERS: Registry[type[TextEncoder]] = Registry(
    "text encoder",
    {
        "transformer": "equissl.encoders.text.transformer:TextTransformer",
        "huggingface": "equissl.encoders.text.huggingface:HuggingFaceText",
    },
    group="equissl.text_encoders",
    base=TextEncoder,
)


@dataclass(frozen=True)
class TextEncoderConfig:
    """Name and options of a text encoder.

    Attributes:
        name: ``transformer``, ``huggingface``, or the import path of a subclass of `TextEncoder`.
        options: arguments of the encoder: ``{tokenizer: word, vocabulary: words.txt}``, ``{folder: bert-tiny}``.
    """

    name: str = "transformer"
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> TextEncoder:
        """Create the encoder, with fresh weights or those of its folder.

        Raises:
            ValueError: for an unknown name, or an option that the encoder does not have.
        """
        make = TEXT_ENCODERS[self.name]
        check_options(f"text encoder {self.name!r}", self.options, inspect.signature(make).parameters)
        return make(**self.options)
