"""Stages of MCL beside the same encoders without groups, attribute by attribute."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from equissl.bench.record import Measured
from equissl.bench.sweep import paired_difference
from equissl.datasets.images.config import ImagesData
from equissl.evaluation import evaluate
from equissl.evaluation.images.config import ImageOptions
from equissl.evaluation.views.config import EvaluateConfig, HueProbeConfig, LinearProbeConfig, RotationProbeConfig
from equissl.runs.config import ConfigError, PretrainConfig
from equissl.runs.configfile import load_config
from equissl.runs.results import read_results
from equissl.training import pretrain
from equissl.training.stages import JOINED, SEEDS, join_stages, train_stages
from equissl.util.runfolder import LAST

CONTROL = "ungrouped"  # run folders without groups: joined, and of single stages
#: Measures by the attribute that they are of; errors are in turns of the colour circle.
ATTRIBUTES = {
    "class": "classification/{}/top1",
    "floor_hue_error": "hue/mean_turns_floor/{}",
    "light_hue_error": "hue/mean_turns_light/{}",
    "light": "light/r2_uniform/{}",
}


def bench_stages(
    data: Path | str,
    config: str = "demo_mcl",
    out: Path | str = "runs/stages",
    seeds: int = 3,
    first: int = 0,
    stages: int = 2,
    clusters: int = 10,
    probe_steps: int = 500,
    train: Sequence[str] = (),
) -> dict[str, Measured]:
    """Train stages, and encoders with the same seeds without groups, and ask all of them for class, hues and light.

    Probes are linear, on standardised features of unseen objects. Started again it goes on where it stopped.

    Args:
        data: view store; each view is one image.
        config: recipe of a stage.
        out: folder of the runs, OUT/seed0/stage_0 … and OUT/seed0/ungrouped_1 ….
        seeds: of the stages, each once.
        first: the first of them: choose settings on another.
        stages: how many, stage 0 included.
        clusters: of each clustering.
        probe_steps: updates of each probe.
        train: flags for every run, such as ``--data.batch_size=64``.

    Returns:
        by attribute and part: mean ± standard deviation over seeds and the values; and paired differences ± their
        standard error: each stage less stage 0 and less the encoder of its seed without groups, and all stages joined
        less as many joined without groups.

    Raises:
        ConfigError: fewer than two stages, data that are no images, or impossible settings.
    """
    if stages < 2:
        raise ConfigError(f"expected at least 2 stages to compare, got {stages}")
    words = ["--data.root", str(data), *train]
    results = [
        _seed(replace(load_config(config, words), seed=seed), Path(out) / f"seed{seed}", stages, clusters, probe_steps)
        for seed in range(first, first + seeds)
    ]
    return {
        f"{attribute} {name}": line
        for attribute, key in ATTRIBUTES.items()
        for name, line in _lines([(_reader(own, key), _reader(other, key)) for own, other in results], stages).items()
    }


Scores = Callable[[str], float]


def _reader(results: Mapping[str, Any], key: str) -> Scores:
    return lambda part: float(results[key.format(part)])


def _seed(
    config: PretrainConfig, out: Path, stages: int, clusters: int, probe_steps: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train and evaluate one seed; return the results of the stages and of encoders without groups."""
    if not isinstance(config.data, ImagesData):
        raise ConfigError(f"expected a recipe of the kind images, got {config.data.kind!r}")
    joined = train_stages(config, out, stages, clusters)
    later = [
        pretrain(replace(config, seed=config.seed + stage * SEEDS), out / f"{CONTROL}_{stage}")
        for stage in range(1, stages)
    ]
    control = join_stages([out / "stage_0", *later], out / CONTROL)
    assert joined == out / JOINED
    return _scores(joined, probe_steps), _scores(control, probe_steps)


def _scores(run: Path, steps: int) -> dict[str, Any]:
    file = run / "results.json"
    if file.is_file() and file.stat().st_mtime_ns > (run.parent / "stage_0" / LAST).stat().st_mtime_ns:
        found = read_results(run)
        if found.get("config/classification/steps") == steps:
            return found
    views = EvaluateConfig(
        protocols=["classification", "hue", "light"],
        classification=LinearProbeConfig(steps=steps),
        rotation=RotationProbeConfig(hidden=(), steps=steps),  # of light, too
        hue=HueProbeConfig(steps=steps),
        standardize=True,
        cache=False,
    )
    return evaluate(run, ImageOptions(views=views))


def _lines(results: Sequence[tuple[Scores, Scores]], stages: int) -> dict[str, Measured]:
    """Scores and differences of one attribute, over seeds."""
    whole = [own("all") for own, _ in results]
    grouped = {stage: [own(f"stage_{stage}") for own, _ in results] for stage in range(stages)}
    plain = {stage: [other(f"stage_{stage}") for _, other in results] for stage in range(1, stages)}
    joined = [other("all") for _, other in results]
    lines = {f"stage_{stage}": _values(values) for stage, values in grouped.items()}
    lines |= {f"ungrouped_{stage}": _values(values) for stage, values in plain.items()}
    lines |= {"joined": _values(whole), "ungrouped joined": _values(joined)}
    for stage in range(1, stages):
        lines[f"stage_{stage} less stage_0"] = _difference(grouped[stage], grouped[0])
        lines[f"stage_{stage} less ungrouped_{stage}"] = _difference(grouped[stage], plain[stage])
    return lines | {"joined less ungrouped joined": _difference(whole, joined)}


def _values(values: Sequence[float]) -> Measured:
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    text = f"{statistics.mean(values):.4g} ± {spread:.2g} ({', '.join(f'{value:.4g}' for value in values)})"
    return Measured(text, {"values": list(values)})


def _difference(own: Sequence[float], other: Sequence[float]) -> Measured:
    mean, error = paired_difference(own, other)
    return Measured(f"{mean:+.3g} ± {error:.2g}", {"difference": mean, "difference_se": error})
