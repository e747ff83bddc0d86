"""Text encoders and their tokenizers."""

from equissl.encoders.text.base import TextEncoder
from equissl.encoders.text.config import TEXT_ENCODERS, TextEncoderConfig
from equissl.encoders.text.huggingface import HuggingFaceText, HuggingFaceTokenizer
from equissl.encoders.text.tokenizer import PAD, START, ByteTokenizer, Tokenizer, WordTokenizer
from equissl.encoders.text.transformer import TextTransformer

__all__ = [
    "PAD",
    "START",
    "TEXT_ENCODERS",
    "ByteTokenizer",
    "HuggingFaceText",
    "HuggingFaceTokenizer",
    "TextEncoder",
    "TextEncoderConfig",
    "TextTransformer",
    "Tokenizer",
    "WordTokenizer",
]
