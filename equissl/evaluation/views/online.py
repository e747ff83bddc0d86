"""Probes that compute the features anew for every batch, as the published scripts do.

Slow by design: it is here to be measured against (``equissl bench evaluate``) and for the protocol ``train_mode``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equissl.datasets.views.store.store import ViewStore
from equissl.evaluation.probes import Rows, draw_rows, draw_views, forward, mlp
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.tasks import Task
from equissl.util.progress import staged

if TYPE_CHECKING:
    from equissl.methods.views.base import ViewMethod


class OnlineProbe:
    """One head on one part, and the frozen backbone it reads from.

    Args:
        method: its parameters are never updated; in ``train_mode`` its running statistics are.
        store: the views.
        task: what the head predicts.
        part: which features it reads.
        train, val: what is known of the views; their features are not used.
        train_mode: leave the backbone in train mode while the head learns, as SIE's scripts do: batch norm then
            normalises with the batch at hand and its running statistics, used for validation, drift.
        device: of backbone and head.
        seed: of the head and the views drawn.
    """

    def __init__(
        self,
        method: ViewMethod,
        store: ViewStore,
        task: Task,
        part: str,
        train: FeatureSet,
        val: FeatureSet,
        train_mode: bool = False,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.method, self.store, self.task, self.part = method.to(device), store, task, part
        self.train, self.val, self.train_mode, self.device = train, val, train_mode, torch.device(device)
        dim = val.parts[part].shape[-1] * (1 + task.pair)
        self.head = mlp(dim, task.hidden, task.out_dim, seed).to(device)
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=task.budget.lr, fused=True)
        self.known = task.view_targets(train)
        self.rows = draw_rows(train, task.pair, task.budget.batch_size, seed)
        self.generator = torch.Generator().manual_seed(seed)

    def fit(self, steps: int) -> None:
        """Update the head so many times, on the views that the cached probes see."""
        self._fit(staged(islice(self.rows, steps), f"training {self.task.name} on {self.part}", "steps", steps))

    def fit_epoch(self) -> None:
        """Update the head on one view, or one pair, of every training object."""
        self._fit(self._epoch(self.train))

    @torch.inference_mode()
    def validate(self) -> Tensor:
        """Compute outputs for one view, or one pair, of every validation object, from the images."""
        self.method.eval()
        return torch.cat([forward(self.head, self.inputs(self.val, rows)) for rows in self._epoch(self.val)]).cpu()

    def _fit(self, batches: Iterable[Rows]) -> None:
        self.method.train(self.train_mode)
        for rows in batches:
            target = self.task.targets(self.known, *rows).to(self.device)
            target = target.float() if target.is_floating_point() else target
            loss = self.task.loss(forward(self.head, self.inputs(self.train, rows)), target)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        self.method.eval()

    def _epoch(self, views: FeatureSet) -> Iterator[Rows]:
        order = torch.randperm(len(views.objects), generator=self.generator)
        for item in order.split(self.task.budget.batch_size):
            yield draw_views(views, item, self.task.pair, self.generator)

    @torch.no_grad()
    def inputs(self, views: FeatureSet, rows: Rows) -> Tensor:
        """Compute features of the drawn views from their images, one view after the other.

        Args:
            views: gives the objects' indices in the store.
            rows: positions of objects, and one or two views of each.
        """
        item, *chosen = rows
        columns = []
        for view in chosen:
            flat = torch.as_tensor(views.objects)[item] * self.store.num_views + view
            images = self.store.read_images(flat.numpy()).to(self.device)
            columns.append(self.method.features(images)[self.part].float())
        return torch.cat(columns, 1)
