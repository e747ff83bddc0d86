"""Tokenizers: numbers, padding, and captions that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from equissl.encoders.text import PAD, START, ByteTokenizer, Tokenizer, WordTokenizer

WORDS = ["a", "chair", "red", ",", "grün"]
every = pytest.mark.parametrize("tokenizer", [ByteTokenizer(), WordTokenizer(WORDS)], ids=["byte", "word"])


def test_bytes_are_those_of_utf8() -> None:
    tokens, lengths = ByteTokenizer().encode(["ab", "ü"], 5)
    assert tokens.tolist() == [[START, 99, 100, PAD, PAD], [START, 0xC3 + 2, 0xBC + 2, PAD, PAD]]
    assert lengths.tolist() == [3, 3] and tokens.dtype == lengths.dtype == torch.int64
    assert int(ByteTokenizer().encode(["\U0010ffff\x00\x7f"], 9)[0].max()) < ByteTokenizer.size


def test_words_are_numbered_as_the_vocabulary_lists_them() -> None:
    tokenizer = WordTokenizer(WORDS)
    tokens, lengths = tokenizer.encode(["A red, GRÜN  chair", "blue-red"], 8)
    assert tokens.tolist() == [[START, 3, 5, 6, 7, 4, PAD, PAD], [START, 2, 2, 5, PAD, PAD, PAD, PAD]]
    assert lengths.tolist() == [6, 4] and tokenizer.size == 8 and tokenizer.words == WORDS


def test_vocabulary_of_texts_has_the_most_frequent_words() -> None:
    texts = ["a chair, a table", "a red chair"]
    assert WordTokenizer.of(texts).words == ["a", "chair", ",", "red", "table"]
    assert WordTokenizer.of(texts, 2).words == ["a", "chair"]
    assert 2 not in WordTokenizer.of(texts).encode(texts, 8)[0]  # nothing is unknown


def test_vocabulary_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("chair\nred\n", encoding="utf-8")
    assert WordTokenizer(str(path)).words == WordTokenizer(path).words == ["chair", "red"]


@every
def test_long_texts_are_cut_off(tokenizer: Tokenizer) -> None:
    text = "a red chair, grün " * 6000  # more than 100 kB
    tokens, lengths = tokenizer.encode([text, "a"], 6)
    assert torch.equal(tokens[0], tokenizer.encode([text[:200]], 6)[0][0])
    assert lengths.tolist() == [6, 2] and tokens.shape == (2, 6)


@every
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", " \t\n"], r"text in row 1, got an empty one: ' \\t\\n'"),
        (["", "a"], "text in row 0, got an empty one"),
        (["a", "b", None], "text in row 2, got NoneType"),
        (["a", "chair \ud800"], "Unicode text in row 1, got half a character at 6"),
        ([], r"list of texts and a length of at least 2, got \[\] and 8"),
        ("a chair", "list of texts and a length of at least 2, got 'a chair' and 8"),
    ],
)
def test_captions_that_are_none_are_refused_by_row(tokenizer: Tokenizer, texts, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer.encode(texts, 8)
    with pytest.raises(ValueError, match=r"at least 2, got .* and 1"):
        tokenizer.encode(["a"], 1)


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ([], "at least one word, got none"),
        (["a", "red chair"], "one word or sign in row 1 of the vocabulary, got 'red chair'"),
        (["a", ""], "in row 1 of the vocabulary, got ''"),
        (["a", 3], "in row 1 of the vocabulary, got 3"),
        (["a", "b", "A"], "every word once in the vocabulary, got 'A' again in row 2"),
        ("nowhere.txt", "vocabulary file in UTF-8, a word a line, got nowhere.txt"),
    ],
)
def test_bad_vocabularies_are_named(vocabulary, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WordTokenizer(vocabulary)


def test_vocabulary_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(b"chair\n\xff\xfe\n")
    with pytest.raises(ValueError, match="vocabulary file in UTF-8"):
        WordTokenizer(path)


def test_fingerprints_tell_vocabularies_apart() -> None:
    tokenizers = [ByteTokenizer(), WordTokenizer(["a", "b"]), WordTokenizer(["b", "a"]), WordTokenizer(["a", "b", "c"])]
    assert len({tokenizer.fingerprint() for tokenizer in tokenizers}) == 4
    assert WordTokenizer(["a", "b"]).fingerprint() == WordTokenizer(["A", "b"]).fingerprint() < 2**63
