"""Settings of the views rendered during training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from equissl.datasets.views.build.spec import ViewSpec

_CHOICE = ("meshes", "objects", "seed", "classes", "val_fraction", "val_source")
_PLAIN = ("size", "rotation_range", "rotation_gap", "translation_range", "up")


@dataclass(frozen=True)
class LiveSpec(ViewSpec):
    """Settings of fresh views in place of stored ones.

    Attributes:
        cache_megabytes: decoded meshes that each process keeps in memory.
    """

    cache_megabytes: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_least(cache_megabytes=0)

    def resolved(self) -> LiveSpec:
        """Copy with absolute paths of mesh folders, so that it means the same from any folder."""
        whole = Path(self.meshes).is_dir()
        parts = [self.meshes] if whole else self.meshes.split("+")
        return replace(self, meshes="+".join(_absolute(part.strip()) for part in parts))

    def render_command(self) -> str:
        """Return the command that renders a store of the same objects with the same split."""
        default = LiveSpec()
        given = {name: getattr(self, name) for name in (*_CHOICE, *_PLAIN)}
        changed = {name: value for name, value in given.items() if name == "meshes" or value != getattr(default, name)}
        flags = [f"--{name} {_flag(value)}" for name, value in changed.items()]
        return " ".join(["equissl render", *flags, "--out FILE.h5"])

    def differences(self, build: dict) -> list[str]:
        """Compute the differences of the choice of objects, or of their split, from a stored build's description."""
        return [
            f"{name}: {build.get(name)!r} in the store, {getattr(self, name)!r} in training"
            for name in _CHOICE
            if build.get(name) != getattr(self, name)
        ]


def _absolute(part: str) -> str:
    kind, colon, folder = part.rpartition(":")  # of ``shapenet:FOLDER``
    if Path(part).is_dir():
        kind, colon, folder = "", "", part
    return f"{kind}{colon}{Path(folder).resolve()}" if Path(folder).is_dir() else part


def _flag(value: object) -> str:
    return f"'{list(value)}'" if isinstance(value, tuple | list) else str(value)
