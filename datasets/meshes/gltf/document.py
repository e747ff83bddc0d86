"""A glTF file's JSON with the bytes that it refers to."""

from __future__ import annotations

import base64
import json
import posixpath
import struct
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from equissl.datasets.meshes.files import Files


@dataclass(eq=False)
class Document:
    """JSON and bytes of a glTF file.

    Attributes:
        tree: The JSON.
        files: Where the file lies, and buffers and images beside it.
        path: The file's path in ``files``.
        chunk: Binary chunk of a GLB, the buffer that has no URI.
        images: Decoded images by number and purpose, as far as they were needed.
    """

    tree: dict[str, Any]
    files: Files
    path: str
    chunk: bytes | None = None
    images: dict[tuple[int, str], Any] = field(default_factory=dict)
    _buffers: dict[int, bytes] = field(default_factory=dict)
    _checked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind: ``nodes``, ``meshes``, ``accessors`` ..."""
        if kind not in self._checked:
            found = self.tree.get(kind) or []
            if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
                raise ValueError(f"expected a list of objects as {kind}")
            self._checked[kind] = found
        return self._checked[kind]

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """Return one object of a kind.

        Args:
            kind: see :meth:`items`.
            index: number of the object.

        Raises:
            ValueError: where there is no such object.
        """
        found = self.items(kind)
        if not isinstance(index, int) or not 0 <= index < len(found):
            raise ValueError(f"{kind}[{index!r}] does not exist: there are {len(found)}")
        return found[index]

    def view(self, index: Any) -> memoryview:
        """Return the bytes of a buffer view.

        Raises:
            ValueError: where it reaches beyond its buffer.
        """
        view = self.item("bufferViews", index)
        start, length = view.get("byteOffset", 0), view["byteLength"]
        data = memoryview(self._buffer(view.get("buffer")))
        if start < 0 or length < 0 or start + length > len(data):
            raise ValueError(f"bufferViews[{index}] is bytes {start}..{start + length} of a buffer of {len(data)}")
        return data[start : start + length]

    def _buffer(self, index: Any) -> bytes:
        buffer = self.item("buffers", index)
        if index not in self._buffers:
            own = self.chunk if index == 0 else None
            data = self.read_uri(buffer["uri"]) if "uri" in buffer else own
            if data is None:
                raise ValueError(f"buffer {index} ({buffer.get('uri', 'the binary chunk')!r:.80}) is missing")
            self._buffers[index] = data
        return self._buffers[index]

    def read_uri(self, uri: str) -> bytes | None:
        """Read a data URI or a file beside this one, by its path or its last component; None where it is absent.

        Nothing is read from outside the source, nor from a network.
        """
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            return base64.b64decode(unquote(body)) if head.endswith(";base64") else unquote_to_bytes(body)
        folder, name = posixpath.dirname(self.path), unquote(uri).replace("\\", "/")
        candidates = [posixpath.join(folder, name), posixpath.join(folder, posixpath.basename(name))]
        for candidate in dict.fromkeys(posixpath.normpath(path) for path in candidates):
            if not candidate.startswith(("..", "/")) and (data := self.files.read(candidate)) is not None:
                return data
        return None


def open_document(files: Files, path: str, data: bytes) -> Document:
    """Parse the JSON of a GLB or ``.gltf`` file.

    Args:
        files: where it lies.
        path: in ``files``.
        data: its bytes.

    Raises:
        ValueError: for bytes that are neither, or another version.
    """
    text, chunk = _split_glb(data) if data[:4] == b"glTF" else (data, None)
    # some exporters fill the chunk up with zeros
    tree = json.loads(text.rstrip(b"\0").decode("utf-8-sig"), parse_constant=_refuse_constant)
    if not isinstance(tree, dict):
        raise ValueError(f"expected a JSON object, got a {type(tree).__name__}")
    version = str((tree.get("asset") or {}).get("version", "none"))
    if not version.startswith("2."):
        raise ValueError(f"expected glTF 2.0, got version {version}")
    return Document(tree, files, path, chunk)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected numbers, got {name}")


def _split_glb(data: bytes) -> tuple[bytes, bytes | None]:
    """JSON and binary chunk; chunks of other types are skipped, as the standard says, and bytes behind the end, too."""
    version, end = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise ValueError(f"expected a GLB of version 2, got {version}")
    chunks: dict[bytes, bytes] = {}
    start = 12
    while start + 8 <= end and not {b"JSON", b"BIN\0"} <= chunks.keys():
        length, kind = struct.unpack_from("<I4s", data, start)
        if start + 8 + length > len(data):
            raise ValueError(f"the file ends within a chunk: {len(data)} bytes of {start + 8 + length}")
        chunks.setdefault(kind, data[start + 8 : start + 8 + length])
        start += 8 + length
    if b"JSON" not in chunks:
        raise ValueError("no JSON chunk")
    return chunks[b"JSON"], chunks.get(b"BIN\0")
