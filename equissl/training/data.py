"""The batches of a run: one endless stream, at any position of which a run can start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import h5py
import torch
from torch.utils.data import DataLoader

from equissl.datasets.drives.pairs.batch import ScenePair
from equissl.datasets.drives.pairs.dataset import SweepPairs
from equissl.datasets.drives.store.format import FORMAT as SCENES
from equissl.datasets.drives.store.store import is_openscene_log
from equissl.datasets.images.sequences import ImageSequences, open_sequences
from equissl.datasets.loader import ViewDataset, ViewLoader, start_method
from equissl.datasets.sweeps.labelled_sweeps import LabelledSweeps, SweepBatch
from equissl.datasets.sweeps.object_classes import ObjectClass
from equissl.datasets.videos.moving_digits import MovingDigits, MovingSpec, VideoBatch
from equissl.datasets.views.batch import ViewBatch
from equissl.datasets.views.live.views import LiveViews
from equissl.datasets.views.store.format import FORMAT as VIEWS
from equissl.runs.config import ConfigError, FrameConfig, PretrainConfig, SceneConfig
from equissl.training.launch import local_rank, process_rank
from equissl.util.processes import one_thread_environment

PairsOrViews = ViewDataset | LiveViews | ImageSequences | SweepPairs | MovingDigits | LabelledSweeps


class EndlessViews:
    """Epoch after epoch of a :class:`ViewLoader`, without a pause between epochs and from any batch on.

    Small stores have epochs of a few batches; an iterator that ended with each epoch would empty the workers' queues
    every time. Position is counted in batches from the start of the run, so it needs no state of its own.

    Args:
        loader: one process' part of the batches.
        workers: processes that read ahead.
        pin_memory: page-locked batches, for faster copies to a GPU.
    """

    def __init__(self, loader: ViewLoader, workers: int = 0, pin_memory: bool = False) -> None:
        self.loader = loader
        self.first = 0
        self._batches: DataLoader = DataLoader(
            loader.dataset,  # type: ignore[arg-type]
            batch_sampler=_Addresses(self),
            num_workers=workers,
            collate_fn=_same,
            pin_memory=pin_memory,
            worker_init_fn=_one_thread,
            multiprocessing_context=start_method(loader.dataset, workers),
        )

    def seek(self, batches: int) -> None:
        """The next iteration starts after that many batches of the run."""
        self.first = batches

    def __iter__(self) -> Iterator[ViewBatch | ScenePair | SweepBatch | VideoBatch]:
        # starting a DataLoader draws from torch's generator: it must not change what the method draws
        with torch.random.fork_rng(devices=[]), one_thread_environment():
            return iter(self._batches)

    def addresses(self) -> Iterator[list[tuple[int, int]]]:
        """(epoch, index) of each item, batch by batch, for ever."""
        epoch, batch = divmod(self.first, len(self.loader))
        self.loader.load_state_dict({**self.loader.state_dict(), "epoch": epoch, "batch": batch})
        while True:
            yield from self.loader.addresses()
            epoch += 1
            self.loader.set_epoch(epoch)


class _Addresses:
    def __init__(self, views: EndlessViews) -> None:
        self.views = views

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self.views.addresses()


def make_views(config: PretrainConfig, dataset: PairsOrViews, rank: int, world_size: int) -> EndlessViews:
    """This process' part of the training batches.

    Raises:
        ConfigError: loader processes asked for where views are rendered in the training process.
        ValueError: batch size not a multiple of the number of processes, or larger than the split.
    """
    size = config.data.batch_size
    if isinstance(dataset, LiveViews) and dataset.in_training_process and config.data.workers:
        renderer = dataset.spec.renderer
        raise ConfigError(
            f"renderer {renderer!r} draws in the training process: expected data.workers 0, got {config.data.workers}"
        )
    if size % world_size:
        raise ValueError(f"expected data.batch_size to be a multiple of the {world_size} processes, got {size}")
    loader = ViewLoader(dataset, batch_size=size // world_size, rank=rank, world_size=world_size)
    return EndlessViews(loader, config.data.workers, pin_memory=torch.cuda.is_available())


def open_dataset(config: PretrainConfig, views: int, data: str = "views", split: str | None = "train") -> PairsOrViews:
    """One split of the config's store.

    Args:
        config: of the run.
        views: of each object; scenes always come as pairs.
        data: ``views``, ``scenes``, ``frames`` or ``flows``, see :class:`equissl.methods.base.Method`.
        split: ``train``, ``val``, or None for all.

    Raises:
        MeshSourceError, RendererError: ``data.live`` without usable meshes, or with an unknown renderer.
        ConfigError: a store of the other kind, or ``data.scenes`` or ``data.frames`` given where they do not apply.
        SweepPairsError: scenes without pairs, or without the flow asked for.
        LabelledSweepsError: scenes without labelled sweeps.
    """
    seed = config.seed if config.data.seed is None else config.data.seed
    if config.data.live is not None:
        return _open_live(config, views, data, split, seed)
    _check_kind(config, data)
    if data == "flows":
        sequences = MovingSpec(**config.method.init_args["videos"])  # the resolved config holds every default
        return MovingDigits(config.data.store, split or "train", sequences, seed=seed)
    for kind, given, default in (
        ("scenes", config.data.scenes, SceneConfig()),
        ("frames", config.data.frames, FrameConfig()),
    ):
        if data != kind and given != default:
            raise ConfigError(f"{config.method.class_path} learns from {data}: expected no data.{kind}, got {given}")
    if data == "scenes":
        return SweepPairs(config.data.store, split, seed=seed, **asdict(config.data.scenes))
    if data == "frames":
        frames = open_labelled_sweeps(config, split, seed=seed)
        if config.method.init_args.get("velocity"):
            frames.require_velocities()
        return frames
    options = dict(config.data.sequence_options or {})
    if config.data.sequences is not None:
        split = options.pop("split", split)
        return open_sequences(config.data.sequences, config.data.store, split, views, seed, **options)
    if options:
        raise ConfigError(f"expected data.sequences with data.sequence_options, got {options} without")
    return ViewDataset(config.data.store, split=split, views=views, seed=seed)


def _open_live(config: PretrainConfig, views: int, data: str, split: str | None, seed: int) -> LiveViews:
    others = [name for name in ("sequences", "sequence_options") if getattr(config.data, name) is not None]
    if data != "views" or others:
        expected = f"no data.live for {config.method.class_path}, which learns from {data}"
        raise ConfigError(f"expected {f'data.live without data.{others[0]}' if others else expected}")
    assert config.data.live is not None
    if torch.cuda.is_available():  # where a renderer in this process works: on the GPU that the method will be moved to
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    return LiveViews(config.data.live, split, views, seed, config.data.workers, progress=process_rank() == 0)


def open_labelled_sweeps(config: PretrainConfig, split: str | None, **options: Any) -> LabelledSweeps:
    """The labelled sweeps that a detector of this config learns from, or those it is scored on.

    Args:
        config: resolved, of a detector.
        split: ``train``, ``val``, or None for all.
        options: other arguments of `LabelledSweeps`, in place of the config's.
    """
    arguments = config.method.init_args  # the resolved config holds every default
    names = [entry.name for entry in fields(ObjectClass)]
    classes = [ObjectClass(**{name: kind[name] for name in names}) for kind in arguments["classes"]]
    columns = 5 if config.data.frames.sweeps > 1 else 4
    if arguments["encoder"]["in_channels"] > columns:
        got = f"{arguments['encoder']['in_channels']} with data.frames.sweeps {config.data.frames.sweeps}"
        raise ConfigError(f"expected an encoder of at most {columns} columns, got {got}")
    settings = {**asdict(config.data.frames), "at_least": config.data.batch_size, **options}
    settings.setdefault("store", config.data.store)
    return LabelledSweeps(split=split, classes=classes, point_range=arguments["encoder"]["point_range"], **settings)


def _check_kind(config: PretrainConfig, data: str) -> None:
    """Says so when the store is a good one, but of the other kind."""
    found = store_kind(config.data.store)
    if found is None or found == data or (found, data) == ("scenes", "frames"):
        return
    made = {
        "flows": "a folder of IDX files, such as MNIST's",
        "views": "a view store, which `equissl render` writes",
        "scenes": "a drive store, which `equissl ingest` writes",
        "frames": "a drive store, which `equissl ingest` writes",
    }
    raise ConfigError(
        f"{config.method.class_path} learns from {data}: expected data.store to be {made[data]}; "
        f"{config.data.store} is {made[found]}"
    )


def store_kind(path: str | Path) -> str | None:
    """``views`` or ``scenes``, by what the file says it is; None for anything else, or nothing."""
    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return None
    try:
        with h5py.File(path, "r") as file:
            form = file.attrs.get("format", b"")
            form = form.decode() if isinstance(form, bytes) else str(form)
            return "scenes" if is_openscene_log(file) else {SCENES: "scenes", VIEWS: "views"}.get(form)
    except OSError:  # cut off in the middle: opening it as a store says what is wrong
        return None


def _same(batch: Any) -> Any:
    return batch


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
