"""Kinds of data, one file each, for opening, training, evaluation, reports and exports.

Everything else asks the kind. A new one is a subclass of `Kind` and one line here, or an entry point of another package
in the group ``equissl.kinds``.
"""

from equissl.kinds.kind import Kind
from equissl.util.registry import Registry

KINDS: Registry[Kind] = Registry(
    "kind",
    {
        "views": "equissl.kinds.views:VIEWS",
        "images": "equissl.kinds.images:IMAGES",
        "drives": "equissl.kinds.drives:DRIVES",
        "sweeps": "equissl.kinds.sweeps:SWEEPS",
        "videos": "equissl.kinds.videos:VIDEOS",
        "interactions": "equissl.kinds.interactions:INTERACTIONS",
        "paired": "equissl.kinds.paired:PAIRED",
    },
    group="equissl.kinds",
    base=Kind,
)

__all__ = ["KINDS", "Kind"]
