"""Evaluation of a run on interactions: each user's last items, ranked among all items."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from equissl.datasets.interactions.config import InteractionsData
from equissl.datasets.interactions.files import InteractionsError
from equissl.datasets.interactions.history import Histories, read_histories
from equissl.datasets.interactions.sequences import InteractionSequences
from equissl.evaluation.diagnostics import collapse_scores
from equissl.evaluation.interactions.baselines import recommenders
from equissl.metrics.ranking import ndcg, target_ranks
from equissl.metrics.retrieval import hit_rate
from equissl.runs.checkpoint import read_saved
from equissl.runs.config import PretrainConfig
from equissl.runs.results import flat_config, write_results
from equissl.util.device import choose_device
from equissl.util.progress import Log, staged

if TYPE_CHECKING:
    from equissl.methods.interactions.sasrec import SASRec

HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class InteractionOptions:
    """Settings of an evaluation on interactions.

    Attributes:
        top: k of HR@k and NDCG@k.
        exclude_seen: leave out the items that a user has had before, for data in which none comes twice.
        batch_size: users at a time.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    top: int = 10
    exclude_seen: bool = False
    batch_size: int = 256
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name in ("top", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")


def evaluate_interactions(
    run_dir: str | Path,
    method: SASRec,
    training: PretrainConfig,
    options: InteractionOptions | None = None,
    store: str | Path | None = None,
    log: Log = lambda message: None,
) -> dict[str, Any]:
    """Rank the last item of each user (``test``) and the one before (``val``) among all items, and write the results.

    Beside the method stand two recommenders without learning, see `recommenders`. No candidates are sampled.

    Args:
        run_dir: folder written by ``pretrain``.
        method, training: as `equissl.runs.load_method` gives them.
        options: what to measure.
        store: interactions with the same items; those of the run where None.
        log: called with one line per stage.

    Returns:
        the flat results, as written: ``test/hr``, ``test/ndcg``, ``popularity/test/hr`` …

    Raises:
        InteractionsError: interactions with other items than the method has learnt.
    """
    run_dir, config, started = Path(run_dir), options or InteractionOptions(), time.perf_counter()
    method = method.to(choose_device(config.device)).eval()
    data = cast(InteractionsData, training.data)
    histories = read_histories(data.store if store is None else store, data.core)
    _check_items(method, histories)
    log(f"{len(histories)} users and {len(histories.items)} items of {histories.path}")
    results = _meta(run_dir, method, training, histories, config)
    with torch.no_grad():
        for split in HELD_OUT:
            log(f"full ranking of {split}")
            results |= split_scores(method, histories, split, config)
    results["seconds"] = round(time.perf_counter() - started, 2)
    write_results(run_dir, results)
    return results


def split_scores(method: SASRec, histories: Histories, split: str, config: InteractionOptions) -> dict[str, Any]:
    """Compute HR and NDCG of the method and the baselines, and on the test split the rank of the representation.

    Args:
        method: in eval mode.
        histories: of all users.
        split: ``val`` or ``test``.
        config: settings.
    """
    device, length = next(method.parameters()).device, method.encoder.config.length
    plain = recommenders(histories)
    ranks: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in ("", *plain)}
    states: list[Tensor] = []
    for batch in _batches(InteractionSequences(histories, split, length), config.batch_size):
        ends = (batch.items > 0).sum(1) - 1
        rows = torch.arange(len(batch))
        last, target = batch.items[rows, ends], batch.targets[rows, ends] - 1
        excluded = _seen(histories, batch.users, split) if config.exclude_seen else None
        state = method.features(batch.items.to(device))["all"]
        tables = {"": method.item_scores(state).cpu(), **{name: score(last) for name, score in plain.items()}}
        for name, scores in tables.items():
            ranks[name].append(target_ranks(scores, target, excluded))
        states.append(state.float().cpu())
    results: dict[str, Any] = {}
    for name, found in ranks.items():
        above, tied = (torch.cat(part) for part in zip(*found, strict=True))
        key = f"{name}/{split}" if name else split
        results[f"{key}/hr"] = hit_rate(above, tied, config.top)
        results[f"{key}/ndcg"] = ndcg(above, tied, config.top)
    if split == "test" and len(histories) > 1:
        results |= collapse_scores(torch.cat(states)[:, None], "all")
    return results


def _batches(dataset: InteractionSequences, size: int) -> Iterator[Any]:
    for start in staged(range(0, len(dataset), size), "users", "batches"):
        yield dataset.__getitems__([(0, index) for index in range(start, min(start + size, len(dataset)))])


def _seen(histories: Histories, users: Tensor, split: str) -> Tensor:
    """(n, N) True for the items that each user has had before the one to rank."""
    seen = torch.zeros(len(users), len(histories.items), dtype=torch.bool)
    held_out = len(HELD_OUT) - HELD_OUT.index(split)
    for row, user in zip(seen, users.tolist(), strict=True):
        row[torch.from_numpy(histories.of(user)[:-held_out]) - 1] = True
    return seen


def _check_items(method: SASRec, histories: Histories) -> None:
    trained, expected = int(method.encoder.catalogue), method.encoder.config.num_items
    if trained != histories.catalogue:
        raise InteractionsError(
            f"{histories.path}: expected the {expected} items that the method has learnt, got {len(histories.items)} "
            f"items{', of which some have other names' if len(histories.items) == expected else ''}"
        )


def _meta(
    run_dir: Path, method: SASRec, training: PretrainConfig, histories: Histories, config: InteractionOptions
) -> dict[str, Any]:
    step = read_saved(run_dir)["step"]
    return {
        "kind": training.data.kind,
        "method": type(method).__name__,
        "label": method.label,
        "run": run_dir.name,
        "store": str(histories.path),
        "seed": training.seed,
        "steps": step,
        "sequences_seen": step * training.trainer.accumulate * training.data.batch_size,
        "parameters": sum(p.numel() for p in method.parameters()),
        "users": len(histories),
        "items": len(histories.items),
        "interactions": len(histories.flat),
        **flat_config(asdict(config)),
    }
