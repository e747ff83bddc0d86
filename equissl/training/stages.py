"""Multistage contrastive learning (MCL): later stages draw negatives that the earlier ones take for alike.

Zhang et al., "Learning the unlearned: mitigating feature suppression in contrastive learning", ECCV 2024. The paper's:
stage 0 is ordinary training; between stages the training set is embedded, scaled to unit length and clustered by
k-means; an item's group is the mixed-radix number of its labels at all stages so far; negatives of the next stage come
from the anchor's group alone; the representations of all stages are concatenated. Reconstructed, for want of facts
beside the release for CLIP: each stage starts from fresh weights. Ours: Lloyd's k-means on all items in place of
mini-batches, and seeds.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equissl.datasets.groups import GroupsError, read_stages, write_groups
from equissl.kinds import KINDS
from equissl.losses import kmeans, unit_norm
from equissl.runs.checkpoint import load_method, read_saved
from equissl.runs.config import ConfigError, PretrainConfig
from equissl.runs.configfile import build_method, resolve_config, save_config
from equissl.training.pretrain import pretrain
from equissl.util.device import choose_accelerator, process_device
from equissl.util.ranks import launched_outside
from equissl.util.runfolder import CONFIG_FILE, LAST
from equissl.weights.imported import save_imported

GROUPS_FILE, JOINED = "groups.npz", "joined"
SEEDS = 1000  # between the seeds of two stages
logger = logging.getLogger(__name__)


def train_stages(
    config: PretrainConfig,
    out: str | Path,
    stages: int = 3,
    clusters: int = 10,
    part: str = "all",
    iterations: int = 100,
) -> Path:
    """Train stages one after the other, each a run of `pretrain`, and join their encoders.

    ``OUT/stage_0``, ``OUT/stage_1`` … are ordinary run folders; beside the checkpoint of all but the last stands
    ``groups.npz``, which the next stage names as its ``data.groups``. ``OUT/joined`` is a run of the method
    `Concatenated` with all encoders. Called again with the same folder it goes on in the stage where it stopped.

    Args:
        config: of every stage; its seed is that of stage 0, and stage s adds s · 1000.
        out: folder of all stages.
        stages: how many, stage 0 included.
        clusters: K of each clustering.
        part: what is clustered: ``all`` or another part of the features, or ``embedding``.
        iterations: largest number of updates of k-means.

    Returns:
        ``OUT/joined``.

    Raises:
        ConfigError: impossible settings, a folder of other stages, or groups that are all smaller than a batch.
    """
    out = Path(out)
    if stages < 1 or clusters < 2:
        raise ConfigError(f"expected at least 1 stage and 2 clusters, got {stages} and {clusters}")
    if config.data.groups is not None:
        raise ConfigError(f"stages make the groups themselves: expected no data.groups, got {config.data.groups!r}")
    if launched_outside():
        raise ConfigError("stages start their own processes: expected trainer.devices in place of torchrun or SLURM")
    for stage in range(stages):
        groups = None if stage == 0 else str((_folder(out, stage - 1) / GROUPS_FILE).resolve())
        data = replace(config.data, groups=groups)
        run = pretrain(replace(config, data=data, seed=config.seed + stage * SEEDS), _folder(out, stage))
        if stage + 1 < stages:
            _label(run, None if groups is None else Path(groups), clusters, part, iterations)
    return join_stages([_folder(out, stage) for stage in range(stages)], out / JOINED)


def _folder(out: Path, stage: int) -> Path:
    return out / f"stage_{stage}"


def _label(run: Path, before: Path | None, clusters: int, part: str, iterations: int) -> None:
    """Write the labels of the stages up to a run, unless they are there."""
    file, facts = run / GROUPS_FILE, {"step": read_saved(run)["step"], "part": part, "iterations": iterations}
    if file.is_file():
        _check_same(file, clusters, facts)
        return
    method, config = load_method(run)
    device = process_device(choose_accelerator(config.trainer.accelerator))
    rows = unit_norm(KINDS[config.data.kind].represent(config, method.to(device), part))
    if clusters > len(rows):
        raise ConfigError(f"expected at most as many clusters as the {len(rows)} training items, got {clusters}")
    generator = torch.Generator().manual_seed(config.seed)
    labels = kmeans(rows, clusters, iterations, generator=generator)[1].numpy()[:, None]
    earlier, numbers = (labels[:, :0], []) if before is None else read_stages(before)[:2]
    write_groups(file, np.concatenate([earlier, labels], axis=1), [*numbers, clusters], **facts)
    sizes = np.bincount(labels[:, 0], minlength=clusters)
    logger.info("%s: clusters of %d to %d items", run, sizes.min(), sizes.max())


def _check_same(file: Path, clusters: int, facts: dict[str, Any]) -> None:
    """Refuse labels that were made with other settings, or before a stage was trained further."""
    try:
        _, numbers, found = read_stages(file)
    except GroupsError as error:
        raise ConfigError(str(error)) from error
    before, now = {**found, "clusters": numbers[-1]}, {**facts, "clusters": clusters}
    if before != now:
        raise ConfigError(f"{file} was made with {before}, now {now}: take another --out, or the same settings")


def join_stages(runs: list[Path], out: Path) -> Path:
    """Write a run folder of `Concatenated` with the encoders of runs.

    Args:
        runs: run folders of methods with equal encoders, in order.
        out: run folder to write; what it holds of an earlier call is replaced.

    Raises:
        ConfigError: encoders that differ, or a method without an argument ``encoder``.
    """
    loaded = [load_method(run) for run in runs]
    encoders = [json.dumps(_encoder(config), sort_keys=True) for _, config in loaded]
    if len(set(encoders)) > 1:
        raise ConfigError(f"expected runs with equal encoders, got {encoders}")
    first = loaded[0][1]
    init_args = {"encoder": json.loads(encoders[0]), "stages": len(runs), "projector": [8 * len(runs)]}
    tree = asdict(first) | {"method": {"class_path": "Concatenated", "init_args": init_args}}
    config = resolve_config(tree)
    method: Any = build_method(config.method)
    for encoder, (stage, _) in zip(method.encoder.stages, loaded, strict=True):
        encoder.load_state_dict(stage.encoder.state_dict())
    (out / LAST).parent.mkdir(parents=True, exist_ok=True)
    save_config(config, out / CONFIG_FILE)
    save_imported(out / LAST, method, config.to_dict(), {"stages": [str(run.resolve()) for run in runs]})
    return out


def _encoder(config: PretrainConfig) -> dict[str, Any]:
    encoder = config.method.init_args.get("encoder")
    if encoder is None:
        raise ConfigError(f"expected a method with an argument `encoder`, got {config.method.class_path}")
    return encoder if isinstance(encoder, dict) else asdict(encoder)
