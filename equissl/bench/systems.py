"""Systems of the literature beside their baselines, as packaged recipes, and made-up data that all of them train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equissl.datasets.interactions.generated import InteractionSpec, write_interactions
from equissl.datasets.views.latents import sample_latents
from equissl.datasets.views.schema import threediebench_schema
from equissl.datasets.views.store.writer import write_store
from equissl.kinds import KINDS
from equissl.runs.config import PretrainConfig
from equissl.runs.configfile import load_config


@dataclass(frozen=True)
class System:
    """A packaged recipe, and those that it is compared with.

    Attributes:
        recipe: name.
        baselines: names of the others.
        data: name of the `MadeData` that all of them train on.
        flags: of the system's training alone; ``{folder}`` is that of the data.
    """

    recipe: str
    baselines: tuple[str, ...]
    data: str
    flags: tuple[str, ...] = ()

    def config(self, folder: Path) -> PretrainConfig:
        """Return the recipe's config on made data.

        Args:
            folder: that `make_data` filled.
        """
        flags = [flag.format(folder=folder) for flag in self.flags]
        return _on_made_data(self.recipe, folder / self.data, flags)

    def baseline_configs(self, folder: Path) -> dict[str, PretrainConfig]:
        """Return the configs of the baselines by name.

        Args:
            folder: that `make_data` filled.
        """
        return {name: _on_made_data(name, folder / self.data, []) for name in self.baselines}


IMAGES, VIEWS, BIASED, INTERACTIONS = "images", "views.h5", "biased.h5", "interactions.csv"
GENERATED, GROUPS = "generated", "groups.npy"
#: A later stage of MCL is its recipe on batches of one group, and its first stage the same recipe without groups.
SYSTEMS: dict[str, System] = {
    "adainf": System("cifar10_adainf", ("cifar10_simclr",), IMAGES, ("--data.generated={folder}/" + GENERATED,)),
    "mae": System("cifar10_mae", (), IMAGES),
    "mixed_ae": System("cifar10_mixed_ae", ("cifar10_naive_mixing", "cifar10_mae"), IMAGES),
    "hydra": System("cifar10_hydra", ("cifar10_supcon", "cifar10_simclr"), IMAGES),
    "hydra_views": System("demo_hydra", ("demo_vicreg",), VIEWS),
    "hallucinator": System("cifar10_hallucinator", ("cifar10_simclr",), IMAGES),
    "mcl": System("demo_mcl", ("demo_mcl",), VIEWS, ("--data.groups={folder}/" + GROUPS,)),
    "obow": System("cifar10_obow", ("cifar10_simclr",), IMAGES),
    "cdvg": System("biased_cdvg", ("biased_erm", "biased_simclr", "biased_cdvg_simclr"), BIASED),
    "translator": System("biased_translator", (), BIASED),
    "sirl": System("demo_sirl", ("demo_vicreg",), VIEWS),
    "custom_contrast": System("demo_custom_contrast", ("demo_info_nce",), VIEWS),
    "mclrec": System("interactions_mclrec", ("interactions_mclrec_joint", "interactions_sasrec"), INTERACTIONS),
    "core_tuning": System("core_tuning", ("fine_tuning", "linear_probe"), IMAGES),
    "cmim": System("cifar10_cmim", ("cifar10_mim", "cifar10_vae"), IMAGES),
}


@dataclass(frozen=True)
class MadeData:
    """Sizes of made-up data: noise, in the forms that the recipes of `SYSTEMS` read.

    Attributes:
        images: real ones in 10 classes, and as many generated ones.
        image_size: their side in pixels, and that of the biased store.
        objects: in a view store, 4 views each.
        view_size: side of a view in pixels.
        users, items: of the interactions.
        seed: of all that is random.
    """

    images: int = 320
    image_size: int = 32
    objects: int = 192
    view_size: int = 64
    users: int = 400
    items: int = 300
    seed: int = 0


def make_data(folder: Path, made: MadeData) -> None:
    """Write images, generated images, view stores, groups and interactions.

    Args:
        folder: to write to.
        made: sizes.
    """
    rng = np.random.default_rng(made.seed)
    for name in (IMAGES, GENERATED):
        _write_images(folder / name, made.images, made.image_size, rng)
    _write_views(folder / VIEWS, made.objects, made.view_size, 12, made.seed, rng)
    _write_views(folder / BIASED, made.objects, made.image_size, 4, made.seed, rng)
    views = _VIEWS * (made.objects - round(made.objects * _HELD))
    np.save(folder / GROUPS, np.arange(views) % 2)
    spec = InteractionSpec(users=made.users, num_items=made.items, seed=made.seed)
    write_interactions(folder / INTERACTIONS, spec)


_CLASSES, _VIEWS, _HELD = 10, 4, 0.125  # held out: the share of the objects


def _on_made_data(recipe: str, data: Path, flags: list[str]) -> PretrainConfig:
    place = KINDS[load_config(recipe).data.kind].place
    return load_config(recipe, [f"--data.{place}={data}", *flags])


def _write_images(root: Path, count: int, size: int, rng: np.random.Generator) -> None:
    from PIL import Image

    for i in range(count):
        folder = root / "train" / f"class_{i % _CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(folder / f"{i:05d}.png")


def _write_views(path: Path, objects: int, size: int, classes: int, seed: int, rng: np.random.Generator) -> None:
    """Write a store of noise; its last objects are the validation split."""
    schema = threediebench_schema()
    latents = np.stack([sample_latents(schema, seed, i, _VIEWS) for i in range(objects)])
    images = rng.integers(0, 256, (objects, _VIEWS, size, size, 3), np.uint8)
    split = np.arange(objects) >= objects - round(objects * _HELD)
    names = [f"class_{i}" for i in range(classes)]
    write_store(path, images, latents, np.arange(objects) % classes, schema, names, split, encoding="raw")
