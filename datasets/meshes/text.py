"""Text of mesh files: byte order marks, UTF-16, names in old encodings, comments, continued lines."""

from __future__ import annotations

import codecs
import re

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_CONTINUED = re.compile(rb"\\[ \t]*[\r\n]")
_COMMENT = re.compile(rb"(?:^|\s)#.*")


def to_utf8(data: bytes) -> bytes:
    """Drop a byte order mark, and turn UTF-16 and UTF-32 into UTF-8; other bytes stay as they are.

    UTF-16 without a mark is told by the zeros that every second byte of plain text then is.

    Raises:
        ValueError: For a mark that does not fit the bytes behind it.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            text = data[len(mark) :]
            return text if encoding == "utf-8" else text.decode(encoding).encode()
    head = data[:64]
    for parity, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) > 8 and not any(head[parity::2]) and all(head[1 - parity :: 2]):
            return data.decode(encoding).encode()
    return data


def decode_name(raw: bytes) -> str:
    """Decode a name: UTF-8, else Windows' Latin-1, so that names that differ stay different."""
    for encoding in ("utf-8", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def logical_lines(data: bytes) -> list[bytes]:
    """Split into lines without tabs; a backslash at the end of a line continues it, but not a comment."""
    lines = data.replace(b"\t", b" ").splitlines()
    if not _CONTINUED.search(data):
        return lines
    joined: list[bytes] = []
    is_open = False
    for line in lines:
        if is_open:
            joined[-1] += line
        else:
            joined.append(line)
        body = joined[-1].strip()
        is_open = body.endswith(b"\\") and not body.startswith(b"#")
        if is_open:
            joined[-1] = body[:-1] + b" "
    return joined


def without_comment(statement: bytes) -> bytes:
    """Cut a comment off: ``#`` behind a blank, for ``1.#IND`` is a number."""
    return _COMMENT.sub(b"", statement)


def spellings(name: str) -> list[str]:
    """Return a name, and the name without what may be comments behind it, the longest first: names may hold ``#``."""
    cuts = [match.start() for match in re.finditer(r"\s+#", name)]
    return [name, *(name[:cut] for cut in reversed(cuts) if cut)]
