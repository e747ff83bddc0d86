"""The baselines of seq-JEPA's scripts as one plain module: the authors' names, and the losses of the released code.

Written from their description (Ghaemi et al. 2025, arXiv 2505.03176, and the repository's defaults).
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from published_seqjepa import CLASSES, embedding
from published_sie import Hypernetwork, hinge, mse, off_diagonal
from published_sie import projector as plain_projector
from torch import Tensor, nn

METHODS = ("simclr", "vicreg", "vicreg-traj", "sie", "simclr-equimod", "sen", "byol-cond", "conv-ijepa")
DEFAULTS: dict[str, Any] = {
    "temp": 0.5, "equi_factor": 1.0, "inv_coeff": 25.0, "var_coeff": 25.0, "cov_coeff": 1.0, "alpha": 1.0,
    "act_projdim": 128, "learn_act_emb": 1, "pred_hidden": 1024, "ema": True,
}  # fmt: skip
HYPERNETWORK = {
    "predictor": "", "bias_pred": False, "predictor_relu": False, "bias_hypernet": False, "hypernetwork": "linear"
}  # fmt: skip


def normed_projector(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], bias=False), nn.BatchNorm1d(sizes[-1], affine=False))


class Baseline(nn.Module):
    """A baseline; ``scale`` divides the widths of its projectors, which the script has no argument for."""

    def __init__(self, method: str, dataset: str, numbers: int, scale: int = 1, **given: Any) -> None:
        super().__init__()
        self.method, self.args = method, DEFAULTS | given
        self.encoder = torchvision.models.resnet18()
        self.encoder.fc = nn.Identity()
        wide, hidden = 2048 // scale, 1024 // scale
        size = self.args["act_projdim"] if self.args["learn_act_emb"] else numbers
        if method in ("vicreg", "vicreg-traj"):
            self.projector = plain_projector(512, [wide] * 3)
        elif method == "simclr":
            self.projector = normed_projector(512, wide, wide, wide)
        elif method == "sie":
            self.projector_inv, self.projector_equi = (plain_projector(256, [hidden] * 3) for _ in range(2))
            self.predictor: nn.Module = Hypernetwork(hidden, numbers, HYPERNETWORK)
        elif method in ("simclr-equimod", "sen"):
            sizes = (wide, wide, wide) if method == "sen" else (hidden, hidden, 128)
            self.projector_equi = normed_projector(512, *sizes)
            if method != "sen":
                self.projector_inv = normed_projector(512, *sizes)
            self.predictor = embedding(size + sizes[-1], sizes[-1])
        else:
            self.projector = normed_projector(512, wide, 128)
            hidden = wide if method == "byol-cond" else self.args["pred_hidden"]
            layers = [nn.Linear(size + 128, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
            self.predictor = nn.Sequential(*layers, nn.Linear(hidden, 128))
            if self.args["ema"]:
                self.target_encoder, self.target_projector = copy.deepcopy(self.encoder), copy.deepcopy(self.projector)
        if method in ("simclr-equimod", "sen", "byol-cond", "conv-ijepa") and self.args["learn_act_emb"]:
            self.action_proj = embedding(numbers, size)
        name = "online_res_probe" if method == "conv-ijepa" else "online_linprobe"
        self.add_module(name, nn.Sequential(nn.Linear(512, CLASSES[dataset])))
        self.online_equiprobe = nn.Sequential(nn.Linear(1024, numbers))

    def forward(self, images: Tensor, to_last: Tensor) -> Tensor:
        """Loss.

        Args:
            images: (B, V, 3, H, W).
            to_last: (B, V − 1, A) actions from each of the other views to the last one.
        """
        z = [self.encoder(view) for view in images.unbind(1)]
        if self.method in ("vicreg", "vicreg-traj"):
            y = [self.projector(view) for view in z]
            return self._vicreg(mse(y[0], y[1]), y[0], y[1]) + (self._bend(*y) if len(y) == 3 else 0)
        if self.method == "simclr":
            return self._contrast(*(self.projector(view) for view in z))
        if self.method == "sie":
            return self._sie(*z, to_last[:, 0])
        if self.method in ("simclr-equimod", "sen"):
            x, y = map(self.projector_equi, z)
            loss = self._contrast(self.predictor(torch.cat([self._told(to_last[:, 0]), x], 1)), y)
            if self.method == "sen":
                return loss
            return self.args["equi_factor"] * loss + self._contrast(*map(self.projector_inv, z))
        return self._cosine(images, z, to_last)

    def _told(self, action: Tensor) -> Tensor:
        return self.action_proj(action) if self.args["learn_act_emb"] else action

    def _vicreg(self, difference: Tensor, x: Tensor, y: Tensor) -> Tensor:
        spread = self.args["var_coeff"] * (hinge(x) + hinge(y)) / 2
        covariance = self.args["cov_coeff"] * (off_diagonal(x) + off_diagonal(y))
        return self.args["inv_coeff"] * difference + spread + covariance

    def _bend(self, before: Tensor, centre: Tensor, after: Tensor) -> Tensor:
        steps = [step - (step * centre).sum(1, keepdim=True) * centre for step in (centre - before, after - centre)]
        return -self.args["alpha"] * F.cosine_similarity(*steps).mean()

    def _sie(self, x: Tensor, y: Tensor, action: Tensor) -> Tensor:
        (x_inv, x_equi), (y_inv, y_equi) = (
            (self.projector_inv(v[:, :256]), self.projector_equi(v[:, 256:])) for v in (x, y)
        )
        predicted = self.predictor(x_equi, action)
        difference = mse(x_inv, y_inv) + self.args["equi_factor"] * mse(predicted, y_equi)
        whole = self._vicreg(difference, torch.cat([x_inv, x_equi], 1), torch.cat([y_inv, y_equi], 1))
        return whole + self.args["var_coeff"] * hinge(predicted) / 2

    def _contrast(self, x: Tensor, y: Tensor) -> Tensor:
        features = F.normalize(torch.cat([x, y]), dim=1)
        logits = (features @ features.T / self.args["temp"]).fill_diagonal_(-torch.inf)
        return F.cross_entropy(logits, torch.arange(2 * len(x)).roll(len(x)))

    def _cosine(self, images: Tensor, z: list[Tensor], to_last: Tensor) -> Tensor:
        """From each view alone to the last one: a mean of ``1 − cos``, or for two views ``2 − 2 cos``."""
        encoder, projector = self.encoder, self.projector
        if self.args["ema"]:
            encoder, projector = self.target_encoder, self.target_projector
        target = projector(encoder(images[:, -1]))
        losses = []
        for view, action in zip(z[:-1], to_last.unbind(1), strict=True):
            predicted = self.predictor(torch.cat([self._told(action), self.projector(view)], 1))
            losses.append(1 - F.cosine_similarity(predicted, target).mean())
        return torch.stack(losses).mean() * (2 if self.method == "byol-cond" else 1)
