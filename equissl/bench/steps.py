"""Benchmark of training steps: each system of the literature beside its baselines."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from equissl.bench.memory import peak_bytes
from equissl.bench.record import Measured
from equissl.bench.systems import SYSTEMS, MadeData, make_data
from equissl.kinds import KINDS
from equissl.runs.config import PretrainConfig
from equissl.runs.configfile import build_method
from equissl.training.data import make_batches, open_dataset
from equissl.training.loop import Loop
from equissl.training.strategies import create_strategy
from equissl.util.device import choose_accelerator, choose_precision, process_device
from equissl.util.randomstate import seed_everything
from equissl.util.registry import did_you_mean

MEBI = 2**20
Accelerator = Literal["auto", "cpu", "gpu"]
logger = logging.getLogger(__name__)


def bench_steps(
    systems: Sequence[str] | None = None,
    steps: int = 4,
    rounds: int = 5,
    warmup: int = 2,
    memory: bool = True,
    batch_size: int | None = None,
    accelerator: Accelerator = "auto",
    threads: int = 1,
    seed: int = 0,
    folder: Path | None = None,
) -> dict[str, Measured]:
    """Train a few steps of each system's packaged recipe and of its baselines', and compare their times.

    A system and its baselines take turns, so that other load on the machine favours none, on data of noise that is made
    for it. A step is what training does between two batches, the reading of the next batch included; that share is
    given too, because noise in PNG files is not what everybody reads. Frozen parts and encoders to fine-tune have drawn
    weights: they cost what trained ones do.

    Args:
        systems: some of adainf, mae, mixed_ae, hydra, hydra_views, hallucinator, mcl, obow, cdvg, translator, sirl,
            custom_contrast, mclrec, core_tuning and cmim; None takes all.
        steps: of each turn.
        rounds: turns of each.
        warmup: steps before.
        memory: also measure, in one more step, the tensors at the worst moment, beyond those that stay between steps.
        batch_size: of all recipes; None takes each one's own.
        accelerator: ``cpu``, ``gpu`` or ``auto``.
        threads: of the CPU.
        seed: of data and weights.
        folder: where temporary data go; default the system's.

    Returns:
        by system its milliseconds a step, median over turns, its share of reading, and MiB; by system and baseline the
        same of the baseline, and the ratio of the system's time to it: median over pairs of turns, lowest and highest.

    Raises:
        ValueError: an unknown system, or no steps or rounds.
    """
    if unknown := [name for name in systems or () if name not in SYSTEMS]:
        raise ValueError(
            f"expected systems among {', '.join(SYSTEMS)}, got {unknown[0]}{did_you_mean(unknown[0], SYSTEMS)}"
        )
    if min(steps, rounds) < 1 or warmup < 0:
        raise ValueError(f"expected at least 1 step and 1 round, and warmup >= 0, got {steps}, {rounds} and {warmup}")
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-steps-") as place, _threads(threads):
        make_data(Path(place), MadeData(seed=seed))
        for name in systems or SYSTEMS:
            system = SYSTEMS[name]
            configs = {name: system.config(Path(place))}
            configs |= {f"{name} / {other}": each for other, each in system.baseline_configs(Path(place)).items()}
            configs = {key: _adapted(each, batch_size, accelerator, seed) for key, each in configs.items()}
            found |= _lines(name, _measure(configs, warmup, steps, rounds, memory))
    return found


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _adapted(config: PretrainConfig, batch_size: int | None, accelerator: Accelerator, seed: int) -> PretrainConfig:
    trainer = replace(config.trainer, accelerator=accelerator)
    data = config.data if batch_size is None else replace(config.data, batch_size=batch_size)
    return replace(config, data=data, trainer=trainer, seed=seed)


class _Training:
    """A run without its folder, log and observers, which trains when it is told to."""

    def __init__(self, config: PretrainConfig) -> None:
        seed_everything(config.seed)
        accelerator = choose_accelerator(config.trainer.accelerator)
        kind = KINDS[config.data.kind]
        method = build_method(config.method)
        dataset = open_dataset(config, method)
        method = kind.arrange(method, config.trainer.channels_last)
        batches = make_batches(config, dataset, 0, 1)
        strategy = create_strategy(process_device(accelerator), config.trainer)
        precision = choose_precision(config.trainer.precision, accelerator)
        length = config.trainer.max_steps or len(batches.loader)
        self.loop = Loop(method, config.optim, strategy, length, precision, epoch=len(batches.loader))
        self.stream = iter(batches)

    def step(self) -> float:
        """Train on the next batch, and return the seconds until it was there."""
        start = time.perf_counter()
        batch = next(self.stream)
        read = time.perf_counter() - start
        self.loop.advance(batch)
        return read

    def turn(self, steps: int) -> tuple[float, float]:
        """Return seconds a step, and those of reading among them."""
        self._wait()
        start = time.perf_counter()
        read = sum(self.step() for _ in range(steps))
        self._wait()
        return (time.perf_counter() - start) / steps, read / steps

    def peak(self) -> float:
        """Measure MiB of tensors at the worst moment of a step, beyond those that were there before."""
        batch = next(self.stream)
        return peak_bytes(lambda: self.loop.advance(batch), self.loop.device) / MEBI

    def _wait(self) -> None:
        if self.loop.device.type == "cuda":
            torch.cuda.synchronize(self.loop.device)


def _measure(
    configs: Mapping[str, PretrainConfig], warmup: int, steps: int, rounds: int, memory: bool
) -> dict[str, dict[str, Any]]:
    """Return by config the seconds a step and of reading of every turn, and the peak in MiB."""
    trainings = {name: _Training(config) for name, config in configs.items()}
    for training in trainings.values():
        for _ in range(warmup):
            training.step()
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in trainings}
    for _ in range(rounds):
        for name, training in trainings.items():
            turns[name].append(training.turn(steps))
    return {
        name: {
            "seconds": [seconds for seconds, _ in turns[name]],
            "reading": [read for _, read in turns[name]],
            "mebibytes": training.peak() if memory else None,
            "batch_size": configs[name].data.batch_size,
        }
        for name, training in trainings.items()
    }


def _lines(system: str, timings: Mapping[str, dict[str, Any]]) -> dict[str, Measured]:
    """Format ``41.2 ms a step, 12 % of it reading, 96 MiB``, and for a baseline ``ratio 1.31 (1.28 to 1.40)``."""
    found = {}
    for name, timing in timings.items():
        numbers, parts = dict(timing), [_line(timing)]
        if name != system:
            pairs = zip(timings[system]["seconds"], timing["seconds"], strict=True)
            numbers["ratios"] = ratios = [own / other for own, other in pairs]
            numbers["ratio"] = statistics.median(ratios)
            parts.append(f"ratio {numbers['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
            if timing["mebibytes"]:
                numbers["memory_ratio"] = timings[system]["mebibytes"] / timing["mebibytes"]
                parts.append(f"of memory {numbers['memory_ratio']:.2f}")
        found[name] = Measured("; ".join(parts), numbers)
        logger.info("%s: %s", name, found[name])
    return found


def _line(timing: Mapping[str, Any]) -> str:
    seconds, reading = (statistics.median(timing[key]) for key in ("seconds", "reading"))
    text = f"{1000 * seconds:.1f} ms a step of {timing['batch_size']}, {100 * reading / seconds:.0f} % of it reading"
    return text if timing["mebibytes"] is None else f"{text}, {timing['mebibytes']:.0f} MiB"
