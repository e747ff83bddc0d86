"""seq-JEPA's two published models as one plain module: the authors' names, and the forward pass of the released code.

Written from its description (Ghaemi et al. 2025, arXiv 2505.03176), ablations and placeholders included.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

CLASSES = {"3diebench": 55, "cifar100": 100, "tinyimagenet": 200, "stl10": 10, "imagenet": 1000}
SACCADES = ("stl10", "imagenet")
DEFAULTS: dict[str, Any] = {
    "ema": False, "act_cond": 1, "learn_act_emb": 1, "act_projdim": 128, "num_heads": 4, "num_enc_layers": 3,
    "pred_hidden": 1024, "cifar_resnet": False,
}  # fmt: skip


class Transformer(nn.Module):
    def __init__(self, size: int, heads: int, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(size, heads, 4 * size, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(size)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.transformer_encoder(x))


def embedding(numbers: int, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(numbers, size, bias=False), nn.BatchNorm1d(size, affine=False))


class PublishedSeqJEPA(nn.Module):
    """The model of rendered and augmented views, or that of saccades.

    Args:
        dataset: that the script trains on.
        numbers: in an action.
        probes: add the online probes that a checkpoint holds.
    """

    def __init__(self, dataset: str, numbers: int, probes: bool = True, **given: Any) -> None:
        super().__init__()
        self.args, self.numbers = DEFAULTS | given, numbers
        self.saccades, self.rendered = dataset in SACCADES, dataset == "3diebench"
        self.encoder = torchvision.models.resnet18()
        self.encoder.fc = nn.Identity()
        if self.args["cifar_resnet"]:
            self.encoder.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            self.encoder.maxpool = nn.Identity()
        if self.args["ema"]:
            self.target_encoder = copy.deepcopy(self.encoder)
        told = self.args["act_cond"], self.args["learn_act_emb"]
        size, self.padding = self.args["act_projdim"], 0
        if told[1] and (told[0] or self.saccades):
            self.action_proj = embedding(numbers, size)
        elif told[0]:
            self.padding = -(512 + numbers) % self.args["num_heads"]
            size = numbers + self.padding
        width = 512 + size if told[0] else 512
        inputs, hidden = width + size if told[0] else 512, self.args["pred_hidden"]
        if hidden <= 0 and not self.saccades:
            self.predictor = nn.Sequential(nn.Linear(inputs, 512, bias=False), nn.BatchNorm1d(512))
        else:
            hidden = hidden if hidden > 0 else 512
            self.predictor = nn.Sequential(
                nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 512)
            )
        self.agg_token = nn.Parameter(torch.zeros(1, 1, width))
        self.transformer_encoder = Transformer(width, self.args["num_heads"], self.args["num_enc_layers"])
        if probes:
            self._add_probes(CLASSES[dataset], width)

    def _add_probes(self, classes: int, width: int) -> None:
        if self.saccades:
            self.online_res_probe = nn.Sequential(nn.Linear(512, classes))
            self.online_agg_probe = nn.Sequential(nn.Linear(width, classes))
            self.online_equiprobe = nn.Sequential(nn.Linear(1024, self.numbers))
            return
        self.online_linprobe = nn.Sequential(nn.Linear(width, classes))
        layers = [nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, self.numbers)]
        self.online_equiprobe = nn.Sequential(*layers)

    def forward(self, images: Tensor, changes: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and aggregate.

        Args:
            images: (B, M + 1, 3, H, W).
            changes: (B, M, A) actions from each view to the next.
            states: (B, M + 1, A) parameters of each view, which are what the changes are differences of; not for
                rendered views.
        """
        z = self.encoder(images[:, :-1].flatten(0, 1)).unflatten(0, (len(images), -1))
        target = (self.target_encoder if self.args["ema"] else self.encoder)(images[:, -1])
        tokens, wanted = z, z[:, 0, :0]
        if self.args["act_cond"]:
            told, wanted = self._told(changes, states)
            tokens = torch.cat([z, told], dim=2)
        x = torch.cat([self.agg_token.expand(len(z), -1, -1), tokens], dim=1)
        aggregate = self.transformer_encoder(x)[:, 0]
        predicted = self.predictor(torch.cat([aggregate, wanted], dim=1))
        return 1 - F.cosine_similarity(predicted, target).mean(), aggregate

    def _told(self, changes: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Action inputs of the tokens (B, M, …) and of the predictor (B, …)."""
        if self.args["learn_act_emb"]:
            embedded = self.action_proj(changes.flatten(0, 1)).unflatten(0, changes.shape[:2])
            last = embedded[:, -1]
            return torch.cat([embedded[:, :-1], torch.zeros_like(embedded[:, -1:])], dim=1), last
        if self.rendered:  # zeroed in place of the last action, which so reaches the predictor as zeros
            changes = torch.cat([changes[:, :-1], torch.zeros_like(changes[:, -1:])], dim=1)
            told, wanted = changes, changes[:, -1]
        else:
            told, wanted = states[:, :-1], states[:, -1]
        return F.pad(told, (0, self.padding)), F.pad(wanted, (0, self.padding))
