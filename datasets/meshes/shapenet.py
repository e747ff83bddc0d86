"""ShapeNetCore, versions 1 and 2, as downloaded; with the object list and split of 3DIEBench where they are there."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from equissl.datasets.meshes.limits import MeshLimits
from equissl.datasets.meshes.listed import Listed, ListedSource, wrong_tree
from equissl.datasets.meshes.normalise import Up
from equissl.datasets.meshes.source import MeshSourceError
from equissl.datasets.meshes.threediebench_list import read_published_list
from equissl.util.listing import subfolders

_V1, _V2 = "model.obj", "models/model_normalized.obj"
#: Version 1 looks along +x in its files, version 2 along -z: a quarter turn about the vertical more.
_QUARTER_TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
_LICENCE = "ShapeNet terms of use (non-commercial research and education)"
#: The synsets of 3DIEBench, for trees without taxonomy.json.
_NAMES = """
02691156 airplane 02747177 ashcan 02773838 bag 02801938 basket 02808440 bathtub 02818832 bed 02828884 bench
02843684 birdhouse 02871439 bookshelf 02876657 bottle 02880940 bowl 02924116 bus 02933112 cabinet 02942699 camera
02946921 can 02954340 cap 02958343 car 02992529 cellphone 03001627 chair 03046257 clock 03085013 keyboard
03207941 dishwasher 03211117 display 03261776 earphone 03325088 faucet 03337140 file_cabinet 03467517 guitar
03513137 helmet 03593526 jar 03624134 knife 03636649 lamp 03642806 laptop 03691459 loudspeaker 03710193 mailbox
03759954 microphone 03761084 microwave 03790512 motorcycle 03797390 mug 03928116 piano 03938244 pillow 03948459 pistol
03991062 pot 04004475 printer 04074963 remote_control 04090263 rifle 04099429 rocket 04225987 skateboard 04256520 sofa
04330267 stove 04379243 table 04401088 telephone 04460130 tower 04468005 train 04530566 vessel 04554684 washer
"""
SYNSET_NAMES = dict(pair.split() for pair in re.findall(r"\d{8} \S+", _NAMES))


class ShapeNetSource(ListedSource):
    """ShapeNetCore: classes are synsets, in ascending order, so that labels are those of 3DIEBench.

    Objects are called ``SYNSET/ID``. A class is called by the first word of its synset in ``taxonomy.json``, or by a
    table of the 55 synsets of 3DIEBench where that file is absent, or by the synset.

    With ``all_objects.npy``, ``train_images.npy`` or ``val_images.npy`` in the tree (or in ``index``), the objects and
    the split are those of 3DIEBench, see :mod:`equissl.datasets.meshes.threediebench_list`; an object that is listed
    and not there is named like any other damaged mesh. Without them all objects are used, and the builder draws its
    own split: stratified by class, a function of the seed (:func:`equissl.datasets.views.split.split_objects`).

    Args:
        root: The tree.
        up: Of the files; y unless told otherwise.
        limits: On one mesh.
        index: Folder of the lists of 3DIEBench, by default the tree.

    Raises:
        MeshSourceError: For another tree, with the one expected and what was found; for damaged lists.
    """

    name = "shapenet"
    expected = """\
  FOLDER/
    SYNSET/           eight digits, for example 02691156
      OBJECT/
        models/model_normalized.obj   (version 2)   or   model.obj   (version 1)
    taxonomy.json     names of the synsets; may be absent
    all_objects.npy  train_images.npy  val_images.npy   lists of 3DIEBench; may be absent"""

    def __init__(
        self,
        root: Path | str,
        up: Up | None = None,
        limits: MeshLimits | None = None,
        index: Path | str | None = None,
    ) -> None:
        root = Path(root)
        found = dict(_find_models(root))
        if not found:
            raise wrong_tree(type(self), root, "no SYNSET/OBJECT with a model")
        published = read_published_list(Path(index or root))
        objects = sorted(found) if published.objects is None else published.objects
        synsets = {place[:8] for place in found}
        objects = [place for place in objects if place[:8] in synsets]
        if not objects:
            raise MeshSourceError(f"none of the {len(found)} objects in {root} is in the lists of {index or root}")
        names = _class_names(root, sorted({place[:8] for place in objects}))
        version = Counter(path.split("/", 2)[2] for path in found.values()).most_common(1)[0][0]
        split = published.split
        items = (
            Listed(
                found.get(place, f"{place}/{version}"),
                place[9:],
                names[place[:8]],
                None if split is None else split.get(place, 0),
                _LICENCE,
            )
            for place in objects
        )
        left = [] if published.objects else [place for place, model in _find_places(root) if model is None]
        notes = [f"objects in {root} without {_V2} or {_V1} are left out: {len(left)}, e.g. {left[0]}"] if left else []
        super().__init__(root, items, list(names.values()), up, limits, notes=notes)

    @classmethod
    def matches(cls, root: Path) -> bool:
        return next(_find_models(root), None) is not None

    def object_name(self, item: Listed) -> str:
        return f"{item.path[:8]}/{item.identifier}"

    def turn(self, path: str) -> np.ndarray | None:
        upright = super().turn(path)
        if path.endswith(_V2):
            return upright
        return _QUARTER_TURN if upright is None else _QUARTER_TURN @ upright


def _find_models(root: Path) -> Iterator[tuple[str, str]]:
    """``SYNSET/OBJECT`` and the path of its mesh file."""
    return ((name, f"{name}/{model}") for name, model in _find_places(root) if model)


def _find_places(root: Path) -> Iterator[tuple[str, str | None]]:
    """``SYNSET/OBJECT`` and the mesh file in it, None where there is none."""
    for synset in subfolders(root):
        if not re.fullmatch(r"\d{8}", synset.name):
            continue
        for place in subfolders(synset):
            model = next((m for m in (_V2, _V1) if (place / m).is_file()), None)
            yield f"{synset.name}/{place.name}", model


def _class_names(root: Path, synsets: Sequence[str]) -> dict[str, str]:
    names = dict(SYNSET_NAMES)
    if (root / "taxonomy.json").exists():
        try:
            rows = json.loads((root / "taxonomy.json").read_text("utf-8"))
            names |= {row["synsetId"]: row["name"].split(",")[0].strip().replace(" ", "_") for row in rows}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise MeshSourceError(
                f"expected a list of synsetId and name in {root / 'taxonomy.json'}: {problem}"
            ) from error
    chosen = {synset: names.get(synset, synset) for synset in synsets}
    twice = {name for name, count in Counter(chosen.values()).items() if count > 1}
    return {synset: f"{name}_{synset}" if name in twice else name for synset, name in chosen.items()}
