"""Files of a mesh folder that no reader takes: counted by suffix, so that none is passed over without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

#: What lies beside meshes and is read with them, or is about them.
_PICTURES = {"png", "jpg", "jpeg", "tga", "bmp", "tif", "tiff", "webp", "gif", "dds", "ktx2", "exr", "hdr", "psd"}
_TEXTS = {"txt", "md", "rst", "json", "jsonl", "csv", "tsv", "xml", "yaml", "yml", "html", "pdf", "url", "log"}
_COMPANIONS = _PICTURES | _TEXTS | {"mtl", "bin", "npy", "npz"}
_ABOUT = {"license", "licence", "readme", "copying", "notice", "authors", "credits"}  # without a suffix


def describe_unread(root: Path, files: Iterable[Path], read: Collection[str]) -> list[str]:
    """Describe the files that are no object's, one sentence for each kind.

    Args:
        root: the folder; objects lie in folders in it.
        files: in and below it.
        read: suffixes, without the dot, of the formats that are read.
    """
    loose, counts = 0, Counter[str]()
    for file in files:
        suffix = file.suffix.lower().lstrip(".")
        if suffix in read:
            loose += file.parent == root
        elif suffix not in _COMPANIONS and file.name.lower() not in _ABOUT:
            counts[f".{suffix}" if suffix else "without suffix"] += 1
    notes = []
    if counts:
        listed = ", ".join(
            f"{number} {suffix}" for suffix, number in sorted(counts.items(), key=lambda c: (-c[1], c[0]))
        )
        notes.append(f"files in {root} of formats that are not read: {listed} (read: {', '.join(read)})")
    if loose:
        notes.append(f"mesh files directly in {root}, not in the folder of a class, are left out: {loose}")
    return notes
