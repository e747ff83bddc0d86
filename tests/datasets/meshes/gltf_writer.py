"""Writer of glTF files whose arrays are stored in any way that the format has."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np

_TYPES = {"<i1": 5120, "<u1": 5121, "<i2": 5122, "<u2": 5123, "<u4": 5125, "<f4": 5126}
_SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


@dataclass
class Writer:
    """Collector of a file's JSON, buffers and what lies beside it."""

    rng: np.random.Generator
    tree: dict[str, Any] = field(default_factory=lambda: {"asset": {"version": "2.0"}})
    buffers: list[bytearray] = field(default_factory=list)
    beside: dict[str, bytes] = field(default_factory=dict)
    features: set[str] = field(default_factory=set)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, *options: Any) -> Any:
        """One of the options, noted as a feature where it is a name."""
        option = options[int(self.rng.integers(len(options)))]
        if isinstance(option, str):
            self.features.add(option)
        return option

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def add(self, kind: str, item: dict[str, Any]) -> int:
        self.tree.setdefault(kind, []).append(item)
        return len(self.tree[kind]) - 1

    def need(self, extension: str, required: bool = True) -> None:
        self.features.add(extension)
        for key in ("extensionsUsed", *(["extensionsRequired"] if required else [])):
            self.tree[key] = sorted({*self.tree.get(key, []), extension})

    def view(self, data: bytes, stride: int | None = None) -> int:
        number = int(self.rng.integers(len(self.buffers)))
        buffer = self.buffers[number]
        buffer += bytes(-len(buffer) % 4) + data
        item = {"buffer": number, "byteOffset": len(buffer) - len(data), "byteLength": len(data)}
        return self.add("bufferViews", item | ({"byteStride": stride} if stride else {}))

    def accessor(self, values: np.ndarray, kind: str, *, normalised: bool = False, vertex: bool = True) -> int:
        """Store an array (N, C) of a component type: as it is, spread over a stride, or by sparse replacements."""
        values = np.asarray(values).astype(kind)
        item: dict[str, Any] = {"componentType": _TYPES[kind], "count": len(values), "type": _SHAPES[values.shape[1]]}
        item |= {"normalized": True} if normalised else {}
        layout = self.pick("packed", "packed", "strided", "sparse", "sparse zeros") if vertex else "packed"
        if layout == "strided":
            offset, size = 4 * int(self.rng.integers(3)), values[0].nbytes
            stride = offset + size + (-size) % 4 + 4 * int(self.rng.integers(2))
            rows = self.rng.integers(0, 256, (len(values), stride)).astype(np.uint8)
            rows[:, offset : offset + size] = values.view(np.uint8).reshape(len(values), -1)
            return self.add("accessors", item | {"bufferView": self.view(rows.tobytes(), stride), "byteOffset": offset})
        if layout.startswith("sparse"):
            zeros = layout == "sparse zeros"
            base = np.zeros_like(values) if zeros else values.copy()
            rows = np.arange(len(values)) if zeros else np.flatnonzero(self.rng.random(len(values)) < 0.4)
            rows = rows if len(rows) else np.arange(1)
            base[rows] = 0
            index = self.pick("<u1", "<u2", "<u4")
            where = {"bufferView": self.view(rows.astype(index).tobytes()), "componentType": _TYPES[index]}
            new = {"bufferView": self.view(values[rows].tobytes())}
            item |= {"sparse": {"count": len(rows), "indices": where, "values": new}}
            if zeros:
                return self.add("accessors", item)
            values = base
        if vertex and values[0].nbytes % 4:
            size = values[0].nbytes  # elements of vertices begin at multiples of four
            rows = np.zeros((len(values), size + (-size) % 4), np.uint8)
            rows[:, :size] = values.view(np.uint8).reshape(len(values), -1)
            return self.add("accessors", item | {"bufferView": self.view(rows.tobytes(), rows.shape[1])})
        return self.add("accessors", item | {"bufferView": self.view(values.tobytes())})

    def uri(self, data: bytes, name: str, mime: str) -> str:
        """Bytes as a data URI, or as a file beside this one."""
        if self.pick("data URI", "file beside") == "data URI":
            return f"data:{mime};base64,{base64.b64encode(data).decode()}"
        self.beside[name] = data
        return quote(name)

    def files(self, *, glb: bool = False) -> dict[str, bytes]:
        """The files, this one first; a GLB or either."""
        glb = self.pick("GLB", "glTF") == "GLB" or glb
        for number, buffer in enumerate(self.buffers):
            item = {"byteLength": len(buffer)}
            if number or not glb:
                item |= {"uri": self.uri(bytes(buffer), f"data {number}.bin", "application/octet-stream")}
            self.add("buffers", item)
        text = json.dumps(self.tree).encode()
        if not glb:
            return {"t.gltf": text} | self.beside
        text += b" " * (-len(text) % 4)
        binary = bytes(self.buffers[0]) + bytes(-len(self.buffers[0]) % 4)
        head = b"glTF" + struct.pack("<III", 2, 28 + len(text) + len(binary), len(text)) + b"JSON"
        return {"t.glb": head + text + struct.pack("<I", len(binary)) + b"BIN\0" + binary} | self.beside
