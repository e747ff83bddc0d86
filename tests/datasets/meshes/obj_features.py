"""Random OBJ files with material libraries, written with the liberties that programs take, beside what they state."""

from __future__ import annotations

import io
from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

Rng = np.random.Generator
ARROW = np.array([[0, 0], [2, 0], [0.5, 0.5], [0, 2]])  # concave
NAMES = ["red", "Wood 2", "Möbel", "Mobel", "Material #25", "Material #26", "a.b-c_d", "rot\xe9"]


@dataclass
class Corner:
    """Corner of a polygon; None for what the file does not state."""

    position: np.ndarray
    uv: np.ndarray | None = None
    normal: np.ndarray | None = None
    colour: np.ndarray | None = None


@dataclass
class Look:
    """Material: linear colour, or the one sRGB colour of its texture; opacity."""

    diffuse: np.ndarray
    texture: tuple[int, ...] | None = None
    alpha: float = 1.0


@dataclass
class Case:
    """Files, the OBJ first; what they state; and the liberties taken."""

    files: dict[str, bytes] = field(default_factory=dict)
    polygons: list[list[Corner]] = field(default_factory=list)
    materials: list[str | None] = field(default_factory=list)
    looks: dict[str, Look] = field(default_factory=dict)
    features: set[str] = field(default_factory=set)
    offset: float = 0.0


class Writer:
    """Writer of one case that takes none of the liberties ``avoid``."""

    def __init__(self, seed: int, avoid: Set[str]) -> None:
        self.avoid = avoid
        self.rng = np.random.default_rng(np.random.SeedSequence([seed, 0x0B7]))
        self.case = Case()
        self.counts = {"v": 0, "vt": 0, "vn": 0}
        self.lines: list[str] = []

    def chance(self, name: str, probability: float) -> bool:
        """Take a liberty and note its name."""
        taken = bool(self.rng.random() < probability) and name not in self.avoid
        if taken:
            self.case.features.add(name)
        return taken

    def pick(self, kind: str, options: dict[str, float]) -> str:
        options = {name: share for name, share in options.items() if f"{kind}={name}" not in self.avoid}
        shares = np.array(list(options.values()))
        name = str(self.rng.choice(list(options), p=shares / shares.sum()))
        self.case.features.add(f"{kind}={name}")
        return name

    def write(self) -> Case:
        self.encoding = self.pick("encoding", {"utf-8": 0.5, "utf-8-sig": 0.2, "latin-1": 0.2, "utf-16": 0.1})
        self.far = self.chance("far away", 0.15)
        self.case.offset = 1e6 if self.far else 0.0
        self.colours = self.pick("colours", {"none": 0.6, "shares": 0.2, "bytes": 0.05, "some": 0.05, "paint": 0.1})
        self.layout = self.pick(
            "layout", {"v": 0.2, "v/vt": 0.15, "v//vn": 0.15, "v/vt/vn": 0.3, "v/vt/": 0.1, "v//": 0.05, "mixed": 0.05}
        )
        self._libraries()
        for _ in range(self.rng.integers(2, 8)):
            self._polygon()
        if self.colours == "paint":
            colours = "".join("ff" + "".join(f"{round(255 * x):02x}" for x in c) for c in self.painted)
            self.lines += [f"#MRGB {colours[i : i + 512]}" for i in range(0, len(colours), 512)]
        return self._finish()

    # materials --------------------------------------------------------------------------------------------------------
    painted: list[np.ndarray]

    def _libraries(self) -> None:
        self.painted = []
        count = int(self.rng.choice([0, 1, 2, 4], p=[0.2, 0.4, 0.2, 0.2]))
        names = list(self.rng.permutation(NAMES)[:count])
        half = len(names) // 2 if self.chance("several libraries", 0.3) else len(names)
        parts = [part for part in (names[:half], names[half:]) if part]
        blanks = self.chance("blanks in library", 0.2)
        own = len(parts) == 1 and self.chance("library by own name", 0.1)
        files = ["a.mtl"] if own else [f"{'my ' * blanks}lib{k}.mtl" for k in range(len(parts))]
        for file, part in zip(files, parts, strict=True):
            self.case.files[file] = self._library([str(name) for name in part])
        if not own and files and self.chance("libraries on one line", 0.5):
            self.lines.append("mtllib " + " ".join(files))
        elif not own:
            self.lines += [f"mtllib {file}" for file in files]
        self.names = [str(name) for name in names]
        self.current: str | None = None

    def _library(self, names: list[str]) -> bytes:
        lines = []
        tab = "\t" if self.chance("tabs in library", 0.2) else " "
        lower = self.chance("lower-case keywords", 0.1)
        for name in names:
            look = Look(self.rng.random(3).round(4))
            lines += [f"newmtl{tab}{name}", f"{tab}Kd {' '.join(map(str, look.diffuse))}{self._comment()}"]
            if self.chance("opacity", 0.3):
                look.alpha = round(float(self.rng.uniform(0.1, 0.9)), 3)
                tr = self.chance("Tr", 0.5)
                lines.append(f"Tr{tab}{1 - look.alpha:.3f}" if tr else f"d{tab}{look.alpha}")
            if self.chance("texture", 0.4):
                look.texture = tuple(int(x) for x in self.rng.integers(0, 256, 3))
                lines.append(f"{'map_kd' if lower else 'map_Kd'}{tab}{self._texture(look.texture)}")
            self.case.looks[name] = look
        encoding = self.pick("library", {"utf-8": 0.5, "utf-8-sig": 0.2, "latin-1": 0.2, "utf-16": 0.1})
        return self._encode(lines, encoding, "library newline")

    def _texture(self, colour: tuple[int, ...]) -> str:
        number = len(self.case.files)
        kinds = {"plain": 0.4, "folder": 0.15, "case": 0.15, "blank": 0.1, "drive": 0.1, "quotes": 0.1}
        kind = self.pick("path", kinds)
        file = {"folder": "maps/t{}.png", "case": "maps/T{}.png", "blank": "my t {}.png"}.get(kind, "t{}.png")
        stream = io.BytesIO()
        Image.new("RGB", (2, 2), colour).save(stream, "PNG")
        self.case.files[file.format(number)] = stream.getvalue()
        name = {"case": "Maps\\t{}.PNG", "drive": "C:\\work\\my maps\\t{}.png", "quotes": '"t{}.png"'}.get(kind, file)
        return ("-clamp on " if self.chance("texture options", 0.2) else "") + name.format(number)

    # geometry ---------------------------------------------------------------------------------------------------------
    def _polygon(self) -> None:
        rng = self.rng
        must = self.current is None and "faces without usemtl" in self.avoid
        if self.names and (must or rng.random() < 0.6):
            self.current = str(rng.choice(self.names))
            self.lines.append(f"usemtl {self.current}{self._comment('comment behind a name')}")
        n = int(rng.integers(3, 7))
        angle = rng.random() + np.arange(n) * 2 * np.pi / n
        flat = np.stack([np.cos(angle), np.sin(angle)], 1)
        if n == 4 and self.chance("concave", 0.5):
            flat = np.roll(ARROW, rng.integers(4), axis=0)
        plane = np.linalg.qr(rng.normal(size=(3, 3)))[0][:2]
        points = (flat @ plane + rng.normal(size=3) * 3 + self.case.offset).round(4)
        corners = [self._corner(point) for point in points]
        self.case.polygons.append([corner for corner, _ in corners])
        self.case.materials.append(self.current)
        if self.current is None and self.names:
            self.case.features.add("faces without usemtl")
        ends = self.chance("indices from the end", 0.4)
        words = [self._word(indices, ends) for _, indices in corners]
        gap = "\t" if self.chance("tabs", 0.1) else "  " if self.chance("double blanks", 0.1) else " "
        if self.chance("continued line", 0.15):
            words[1] += " \\\n"
        self.lines.append(f"f{gap}" + gap.join(words) + self._comment() + " " * int(rng.integers(2)))
        others = [str(x) for x in rng.choice(["", "# v 9 9 9", "g part", "s off", "o x", "l 1 2"], 2)]
        self.lines += others + ["# C:\\x\\"] * self.chance("comment that ends in a backslash", 0.03)

    def _corner(self, position: np.ndarray) -> tuple[Corner, dict[str, int]]:
        rng, corner, indices = self.rng, Corner(position), {"v": self._count("v")}
        words = [self._number(x) for x in position]
        if self.colours == "paint":
            corner.colour = rng.integers(0, 256, 3) / 255
            self.painted.append(corner.colour)
        elif self.colours != "none" and (self.colours != "some" or rng.random() < 0.5):
            corner.colour = (rng.integers(0, 256, 3) / 255).round(4)
            scale = 255 if self.colours == "bytes" else 1
            words += [f"{round(x * scale) if scale > 1 else x}" for x in corner.colour]
        elif self.chance("weight", 0.05):
            words.append("1.0")
        self.lines.append(f"{' ' * int(rng.random() < 0.1)}v {' '.join(words)}{self._comment()}")
        layout = self.layout if self.layout != "mixed" else str(rng.choice(["v", "v/vt", "v//vn", "v/vt/vn"]))
        if "vt" in layout:
            corner.uv, indices["vt"] = rng.random(2).round(4), self._count("vt")
            self.lines.append("vt {} {}".format(*corner.uv) + " 0.0" * self.chance("three texture coordinates", 0.1))
        if "vn" in layout:
            normal = rng.normal(size=3)
            corner.normal, indices["vn"] = (normal / np.linalg.norm(normal)).round(6), self._count("vn")
            self.lines.append("vn {} {} {}".format(*corner.normal))
        return corner, indices

    def _count(self, kind: str) -> int:
        self.counts[kind] += 1
        return self.counts[kind]

    def _number(self, value: float) -> str:
        form = int(self.rng.integers(4))
        return (f"{value:.4f}", f"{value:.12e}", repr(float(value)), f"{value:+.4f}")[form]

    def _word(self, indices: dict[str, int], ends: bool) -> str:
        texts = {k: str(i - self.counts[k] - 1 if ends else i) for k, i in indices.items()}
        if "vn" in texts:
            return f"{texts['v']}/{texts.get('vt', '')}/{texts['vn']}"
        slashes = {"v/vt/": "/", "v//": "//"}.get(self.layout, "")
        return texts["v"] + ("/" + texts["vt"] if "vt" in texts else "") + slashes

    def _comment(self, name: str = "comment behind a statement") -> str:
        return " # 7 8 9" if self.chance(name, 0.05) else ""

    def _finish(self) -> Case:
        self.case.files = {"a.obj": self._encode(self.lines, self.encoding), **self.case.files}
        return self.case

    def _encode(self, lines: list[str], encoding: str, newline_of: str = "newline") -> bytes:
        newline = self.pick(newline_of, {"\n": 0.5, "\r\n": 0.4, "\r": 0.1})
        text = newline.join(lines) + newline
        return (text if newline == "\n" else text.replace("\\\n", "\\" + newline)).encode(encoding)


def make_case(seed: int, avoid: Set[str] = frozenset()) -> Case:
    """Write the case ``seed``, without the liberties ``avoid``."""
    return Writer(seed, avoid).write()
