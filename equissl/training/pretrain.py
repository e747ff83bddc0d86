"""Pretraining: one call that starts a run, or continues it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from equissl.datasets.images.sequences import ImageSequences
from equissl.datasets.loader import ViewDataset
from equissl.datasets.sweeps.labelled_sweeps import LabelledFrames
from equissl.datasets.views.live.views import LiveViews
from equissl.encoders.sync_batchnorm import convert_sync_batchnorm
from equissl.runs.checkpoint import (
    LAST,
    LENGTH,
    OURS,
    changed_keys,
    load_weights,
    method_weights,
    read_checkpoint,
)
from equissl.runs.config import ConfigError, PretrainConfig, TrainerConfig, check_config, flatten
from equissl.runs.configfile import build_method, dump_config, resolve_config
from equissl.runs.versions import versions
from equissl.training.collapse import CollapseMonitor
from equissl.training.data import PairsOrViews, make_views, open_dataset
from equissl.training.device import (
    choose_accelerator,
    choose_precision,
    launched_outside,
    process_device,
    world_size,
)
from equissl.training.launch import launch_processes, process_rank
from equissl.training.loggers import LOGGERS, create_loggers
from equissl.training.loop import Loop
from equissl.training.metriclog import MetricLog
from equissl.training.observers import Observer
from equissl.training.probes import OnlineProbes
from equissl.training.progress import Progress
from equissl.training.randomstate import seed_everything
from equissl.training.saving import CheckpointSaver, TrainingDivergedError
from equissl.training.strategies import create_strategy
from equissl.util.files import write_text

__all__ = ["TrainingDivergedError", "pretrain"]

CONFIG_FILE = "config.yaml"
LABELS_FILE, INIT_FILE = "labels.txt", "init.json"
SETTLING, SETTLING_BATCH = 16, 4  # frames that statistics are taken from
logger = logging.getLogger(__name__)


def pretrain(config: PretrainConfig, out: str | Path, observers: Sequence[Observer] = ()) -> Path:
    """Pretrains a method; called again with the same folder, it continues where the last checkpoint was saved.

    The run folder holds ``config.yaml`` (resolved; runs again as it is), ``checkpoints/last.ckpt``, ``metrics.csv`` and
    what other loggers write. On a CPU in 32 bits a run that was killed and continued ends with the very same weights as
    one that was not.

    Args:
        config: see :class:`PretrainConfig`; :func:`load_config` reads one from YAML.
        out: run folder, made when it is not there.
        observers: of training, beside the run's own.

    Returns:
        the run folder.

    Raises:
        ConfigError: impossible config, a GPU asked for where there is none, or another config than the folder's run.
        CheckpointError: the folder's checkpoint is damaged.
        TrainingDivergedError: the loss became NaN or infinite; the last good checkpoint is kept.
        StoreError, SceneStoreError: the store is not one.
        ScenePairError: a scene store without pairs, or without the flow asked for.
        LabelledFramesError: a scene store without labels.
        WeightsError: ``init`` holds no voxel backbone, or one that does not fit.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGUSR1; a checkpoint has been saved.
    """
    out = Path(out)
    config = resolve_config(config.to_dict())  # fills in what the method's constructor adds, and checks it
    if config.data.store:
        config = replace(config, data=replace(config.data, store=str(Path(config.data.store).resolve())))
    if config.data.live is not None:
        config = replace(config, data=replace(config.data, live=config.data.live.resolved()))
    if config.init is not None:
        config = replace(config, init=str(Path(config.init).resolve()))
    check_config(config)
    for name in config.trainer.loggers:
        LOGGERS[name]  # an unknown one is an error now, not in the processes to come
    accelerator = choose_accelerator(config.trainer.accelerator)
    if world_size(config.trainer) > 1 and not launched_outside():
        if observers:
            raise ConfigError("observers cannot be handed to other processes: start the run with torchrun instead")
        launch_processes(_run, (config, out), config.trainer)
        return out
    return _run(config, out, observers, accelerator)


def _run(config: PretrainConfig, out: Path, observers: Sequence[Observer] = (), accelerator: str | None = None) -> Path:
    accelerator = accelerator or choose_accelerator(config.trainer.accelerator)
    checkpoint = _existing_checkpoint(config, out)
    with _threads(config.trainer.threads):
        seed_everything(config.seed)
        method = build_method(config.method)
        dataset = open_dataset(config, method.views, method.data)
        views = make_views(config, dataset, process_rank(), world_size(config.trainer))
        last_step = _last_step(config, len(views.loader))
        done = checkpoint[OURS]["step"] if checkpoint else 0
        if done >= last_step:
            logger.info(
                "%s: complete, %d of %d steps; raise trainer.max_epochs or max_steps to go on", out, done, last_step
            )
            _save_config(config, out)
            return out
        if process_rank() == 0:
            (out / LAST).parent.mkdir(parents=True, exist_ok=True)
            _save_config(config, out)
        views.seek(done * config.trainer.accumulate)
        if isinstance(dataset, LabelledFrames):
            _prepare_frames(dataset, out)
        if checkpoint:
            logger.info("%s: continuing after step %d of %d", out, done, last_step)
        elif config.init is not None:
            _start_from(config.init, method, out)
        elif isinstance(dataset, LabelledFrames) and method.frozen:
            _settle_statistics(method, dataset)
        _fit(config, out, method, dataset, views, last_step, accelerator, observers, checkpoint)
    return out


def _fit(
    config: PretrainConfig,
    out: Path,
    method: Any,
    dataset: PairsOrViews,
    views: Any,
    last_step: int,
    accelerator: str,
    observers: Sequence[Observer],
    checkpoint: dict[str, Any] | None,
) -> None:
    settings = config.trainer
    if checkpoint:
        load_weights(method, method_weights(checkpoint), origin=str(out / LAST))
    method = _arrange(method, settings)
    log = MetricLog(
        create_loggers(settings.loggers, out, config.to_dict()) if process_rank() == 0 else [],
        settings.log_every,
        config.data.batch_size * settings.accumulate * dataset.views,
        last_step,
        unit="sweeps" if method.data in ("scenes", "frames") else "views",
    )
    random = checkpoint[OURS]["random"] if checkpoint else None
    saver = CheckpointSaver(out, config.to_dict(), settings, log, versions(), random)
    strategy = create_strategy(process_device(accelerator), settings)
    try:
        precision = choose_precision(settings.precision, accelerator)
        found = [*_observers(config, log, method, dataset), *observers, saver]
        loop = Loop(method, config.optim, strategy, last_step, precision, settings.accumulate, found)
        loop.fit(views, checkpoint)
        strategy.barrier()  # the first process to end ends the others
    finally:
        strategy.close()
    if saver.interrupted:
        logger.info("%s: stopped and saved at step %d; the same command continues", out, loop.step)
        raise KeyboardInterrupt


def _arrange(method: Any, settings: TrainerConfig) -> Any:
    """The method as it trains: batch norms over all processes, memory format, compiled encoder."""
    if world_size(settings) > 1:
        method = convert_sync_batchnorm(method)
    if settings.channels_last and method.data == "views":  # of images
        method = method.to(memory_format=torch.channels_last)
    if settings.compile:
        method.encoder.compile()
    return method


def _observers(config: PretrainConfig, log: MetricLog, method: Any, dataset: PairsOrViews) -> list[Observer]:
    found: list[Observer] = []
    if config.probes.enabled and isinstance(
        dataset, ViewDataset | LiveViews | ImageSequences
    ):  # scenes have no labels to probe for
        classes = len(dataset.store.classes)
        views = 1 if isinstance(dataset, ImageSequences) else method.views  # nothing turns in images
        found.append(OnlineProbes(config.probes, log, method.feature_dim, classes, views, config.seed))
    if config.collapse.every:
        found.append(CollapseMonitor(config.collapse, log))
    found.append(log)
    if process_rank() == 0:
        found.append(Progress(log, type(method).__name__))
    return found


def _prepare_frames(frames: LabelledFrames, out: Path) -> None:
    """Publishes whose labels are used; and every process cuts out what is pasted into frames, before its workers."""
    logger.info("%s: labels of %d of %d frames", out, len(frames.ids), frames.of)
    if process_rank() == 0:
        frames.write_ids(out / LABELS_FILE)
    frames.prepare()


def _settle_statistics(method: Any, frames: LabelledFrames) -> None:
    """A frozen backbone that nothing was handed to takes these frames' statistics instead of those of initialisation.

    Without, its features fade from layer to layer, and a comparison with it says nothing of what was learnt.
    """
    from equissl.encoders.voxel.calibrate import calibrate

    clouds = [torch.from_numpy(frames.read(place).points) for place in range(min(SETTLING, len(frames.frames)))]
    calibrate(method.encoder, clouds, SETTLING_BATCH)


def _start_from(init: str, method: Any, out: Path) -> None:
    """Fills the backbone, and leaves beside the config what came from where."""
    from equissl.weights import load_backbone

    report = load_backbone(method, init)
    logger.info("%s: %s", out, report)
    if process_rank() == 0:
        (out / INIT_FILE).write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")


def _last_step(config: PretrainConfig, batches: int) -> int:
    """Optimiser steps of the whole run; ``batches`` are those of one epoch."""
    settings = config.trainer
    ends = [] if settings.max_steps is None else [settings.max_steps]
    if settings.max_epochs is not None:
        ends.append(max(1, settings.max_epochs * batches // settings.accumulate))
    return min(ends)


def _existing_checkpoint(config: PretrainConfig, out: Path) -> dict[str, Any] | None:
    """The checkpoint to continue from, after making sure that it is of the same run."""
    if out.is_file():
        raise ConfigError(f"expected a run folder, got the file {out}")
    if not (out / LAST).is_file():
        return None
    checkpoint = read_checkpoint(out / LAST, mmap=True)
    if checkpoint[OURS].get("imported"):
        raise ConfigError(f"{out} holds imported weights without optimiser or data order: nothing to continue from")
    # resolved again: an older version saved it without the keys that were added since
    before = resolve_config(checkpoint[OURS]["config"], origin=str(out / LAST)).to_dict()
    if changed := changed_keys(before, config.to_dict()):
        listed = "\n".join(f"  {key}: was {old!r}, now {new!r}" for key, (old, new) in changed.items())
        raise ConfigError(f"{out} holds a run with another config; take another --out, or the same config:\n{listed}")
    lengths = [[flatten(tree)[key] for key in LENGTH] for tree in (before, config.to_dict())]
    if config.optim.schedule != "constant" and lengths[0] != lengths[1]:
        logger.warning("%s: the learning rate goes on along the schedule of the new length, not of the one before", out)
    return checkpoint


def _save_config(config: PretrainConfig, out: Path) -> None:
    if process_rank() != 0:
        return
    write_text(out / CONFIG_FILE, dump_config(config))


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
