"""Pretraining: one call that starts a run, or continues it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch

from equissl.datasets.addressed import AddressedDataset
from equissl.encoders.sync_batchnorm import convert_sync_batchnorm
from equissl.kinds import KINDS
from equissl.methods import Method
from equissl.runs.checkpoint import (
    LENGTH,
    OURS,
    changed_keys,
    check_continuable,
    load_weights,
    method_weights,
    read_checkpoint,
)
from equissl.runs.config import ConfigError, PretrainConfig, check_config
from equissl.runs.configfile import build_method, resolve_config, save_config
from equissl.runs.versions import versions
from equissl.training.collapse import CollapseMonitor
from equissl.training.data import EndlessBatches, make_batches, open_dataset
from equissl.training.launch import launch_processes
from equissl.training.leftovers import removed_unless_started
from equissl.training.loggers import LOGGERS, create_loggers
from equissl.training.loop import Loop
from equissl.training.metriclog import MetricLog
from equissl.training.observers import Observer
from equissl.training.progress import Progress
from equissl.training.saving import CheckpointSaver, TrainingDivergedError
from equissl.training.strategies import create_strategy
from equissl.util.configtree import flatten
from equissl.util.device import choose_accelerator, choose_precision, process_device
from equissl.util.files import write_json
from equissl.util.randomstate import seed_everything
from equissl.util.ranks import launched_outside, process_rank
from equissl.util.runfolder import CONFIG_FILE, LAST
from equissl.weights.frozen import load_frozen_parts
from equissl.weights.initial import load_backbone

__all__ = ["TrainingDivergedError", "pretrain"]

INIT_FILE, FROZEN_FILE = "init.json", "frozen.json"
logger = logging.getLogger(__name__)


def pretrain(config: PretrainConfig, out: str | Path, observers: Sequence[Observer] = ()) -> Path:
    """Pretrain a method; called again with the same folder, continue where the last checkpoint was saved.

    The run folder holds ``config.yaml`` (resolved; runs again as it is), ``checkpoints/last.ckpt``, ``metrics.csv`` and
    what other loggers write; a run that fails before its first step leaves nothing of it. On a CPU in 32 bits a run
    that was killed and continued ends with the very same weights as one that was not.

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
        StoreError, DriveStoreError: the store is not one.
        SweepPairsError: a drive store without pairs, or without the flow asked for.
        LabelledSweepsError: a drive store without labels.
        WeightsError: ``init`` holds no encoder, or one that does not fit.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGUSR1; a checkpoint has been saved.
    """
    out = Path(out)
    config = resolve_config(config.to_dict())  # fills in what the method's constructor adds, and checks it
    config = replace(config, data=KINDS[config.data.kind].resolve(config.data))
    if config.data.groups is not None:
        config = replace(config, data=replace(config.data, groups=str(Path(config.data.groups).resolve())))
    if config.init is not None:
        config = replace(config, init=str(Path(config.init).resolve()))
    check_config(config)
    for name in config.trainer.loggers:
        LOGGERS[name]  # an unknown one is an error now, not in the processes to come
    accelerator = choose_accelerator(config.trainer.accelerator)
    with removed_unless_started(out):
        if config.trainer.world_size > 1 and not launched_outside():
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
        dataset = open_dataset(config, method)
        batches = make_batches(config, dataset, process_rank(), config.trainer.world_size)
        last_step = _last_step(config, len(batches.loader))
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
        batches.seek(done * config.trainer.accumulate)
        if checkpoint:
            logger.info("%s: continuing after step %d of %d", out, done, last_step)
        elif config.init is not None:
            _start_from(config.init, method, out)
        if checkpoint is None and (origins := load_frozen_parts(method)) and process_rank() == 0:
            write_json(out / FROZEN_FILE, origins)
        fresh = checkpoint is None and config.init is None
        start = KINDS[config.data.kind].prepare(config, method, dataset, out, fresh)
        _fit(config, out, method, dataset, batches, last_step, accelerator, observers, checkpoint, start)
    return out


def _fit(
    config: PretrainConfig,
    out: Path,
    method: Method,
    dataset: AddressedDataset,
    batches: EndlessBatches,
    last_step: int,
    accelerator: str,
    observers: Sequence[Observer],
    checkpoint: dict[str, Any] | None,
    start: dict[str, float],
) -> None:
    settings = config.trainer
    if checkpoint:
        load_weights(method, method_weights(checkpoint), origin=str(out / LAST))
    method = _arrange(config, method)
    log = MetricLog(
        create_loggers(settings.loggers, out, config.to_dict()) if process_rank() == 0 else [],
        settings.log_every,
        lambda step: batches.items(step * settings.accumulate) * dataset.views,
        last_step,
        unit=KINDS[config.data.kind].unit,
    )
    log.add(start)
    random = checkpoint[OURS]["random"] if checkpoint else None
    saver = CheckpointSaver(out, config.to_dict(), settings, log, versions(), random)
    strategy = create_strategy(process_device(accelerator), settings)
    try:
        precision = choose_precision(settings.precision, accelerator)
        found = [*_observers(config, log, method, dataset), *observers, saver]
        epoch = len(batches.loader)
        optim = config.optim.for_batch(config.data.batch_size * settings.accumulate)
        loop = Loop(method, optim, strategy, last_step, precision, settings.accumulate, found, epoch)
        loop.fit(batches, checkpoint)
        strategy.barrier()  # the first process to end ends the others
    finally:
        strategy.close()
    if saver.interrupted:
        logger.info("%s: stopped and saved at step %d; the same command continues", out, loop.step)
        raise KeyboardInterrupt


def _arrange(config: PretrainConfig, method: Method) -> Method:
    """Arrange the method for training: batch norms over all processes, memory format, compiled encoder."""
    if config.trainer.world_size > 1:
        method = cast(Method, convert_sync_batchnorm(method))
    method = KINDS[config.data.kind].arrange(method, config.trainer.channels_last)
    if config.trainer.compile:
        method.encoder.compile()
    return method


def _observers(config: PretrainConfig, log: MetricLog, method: Method, dataset: AddressedDataset) -> list[Observer]:
    found: list[Observer] = [*KINDS[config.data.kind].observers(config, method, dataset, log)]
    if config.collapse.every:
        found.append(CollapseMonitor(config.collapse, log))
    found.append(log)
    if process_rank() == 0:
        found.append(Progress(log, type(method).__name__))
    return found


def _start_from(init: str, method: Any, out: Path) -> None:
    """Fill the backbone, and write the origin of its weights beside the config."""
    report = load_backbone(method, init)
    logger.info("%s: %s", out, report)
    if process_rank() == 0:
        write_json(out / INIT_FILE, asdict(report))


def _last_step(config: PretrainConfig, batches: int) -> int:
    """Return the optimiser steps of the whole run; ``batches`` are those of one epoch."""
    settings = config.trainer
    ends = [] if settings.max_steps is None else [settings.max_steps]
    if settings.max_epochs is not None:
        ends.append(max(1, settings.max_epochs * batches // settings.accumulate))
    return min(ends)


def _existing_checkpoint(config: PretrainConfig, out: Path) -> dict[str, Any] | None:
    """Return the checkpoint to continue from, after making sure that it is of the same run."""
    if out.is_file():
        raise ConfigError(f"expected a run folder, got the file {out}")
    if not (out / LAST).is_file():
        return None
    checkpoint = read_checkpoint(out / LAST, mmap=True)
    if checkpoint[OURS].get("imported"):
        raise ConfigError(f"{out} holds imported weights without optimiser or data order: nothing to continue from")
    check_continuable(checkpoint, out / LAST)
    # resolved again: an older version saved it without the keys that were added since
    before = resolve_config(checkpoint[OURS]["config"], origin=str(out / LAST)).to_dict()
    if changed := changed_keys(before, config.to_dict()):
        listed = "\n".join(f"  {key}: was {old!r}, now {new!r}" for key, (old, new) in changed.items())
        raise ConfigError(f"{out} holds a run with another config; take another --out, or the same config:\n{listed}")
    lengths = [[flatten(tree)[key] for key in LENGTH] for tree in (before, config.to_dict())]
    if config.optim.moves and lengths[0] != lengths[1]:
        logger.warning("%s: the schedule goes on along that of the new length, not of the one before", out)
    return checkpoint


def _save_config(config: PretrainConfig, out: Path) -> None:
    if process_rank() != 0:
        return
    save_config(config, out / CONFIG_FILE)


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
