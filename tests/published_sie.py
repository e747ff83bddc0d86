"""The 14 models of SIE's repository as plain modules: the authors' names, and the losses as their paper states them.

Written from their description (Garrido et al. 2023, arXiv 2302.10283), for one process, without the losses of the
online heads. The backbone is this project's, which golden values hold to theirs.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.encoders.resnet import ResNet, resnet18

OPTIONS = (
    "SIE", "SIENoVar", "SIERotColor", "SIEOnlyEqui", "VICReg", "VICRegPartInv", "VICRegEquiMod", "SimCLR",
    "SimCLROnlyEqui", "SimCLROnlyEquiRotColor", "SimCLREquiMod", "SimCLREquiModRotColor", "SimCLRAugSelf",
    "SimCLRAugSelfRotColor",
)  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "equi": 256, "mlp": "2048-2048-2048", "hypernetwork": "linear", "predictor": "", "predictor_relu": False,
    "predictor_type": "hypernetwork", "bias_pred": False, "bias_hypernet": False, "tf_num_layers": 1,
    "simclr_temp": 0.1, "ec_weight": 1.0, "sim_coeff": 10.0, "equi_factor": 4.5, "std_coeff": 10.0, "cov_coeff": 1.0,
}  # fmt: skip


def projector(inputs: int, sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([inputs, *sizes[:-1]]):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([inputs, *sizes][-2], sizes[-1], bias=False))


def head(size: int, outputs: int) -> nn.Sequential:
    layers = [nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(size, outputs))


class Evaluator(nn.Module):
    """The online heads, for their names and shapes alone."""

    def __init__(self, inv: int, equi: int, inv_emb: int, equi_emb: int, classes: int = 55) -> None:
        super().__init__()
        for name, first, second in (("repr", inv, equi), ("emb", inv_emb, equi_emb)):
            self.add_module(f"classifier_{name}", nn.Linear(first + second, classes))
            if first:
                self.add_module(f"classifier_inv_{name}", nn.Linear(first, classes))
            self.add_module(f"predictor_angles_{name}", head(2 * (first + second), 4))
            if second:
                self.add_module(f"predictor_angles_equi_{name}", head(2 * second, 4))


class Net(nn.Module):
    """Holder of a module under the name that it has in the authors' state dict."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class Hypernetwork(Net):
    def __init__(self, size: int, numbers: int, args: dict[str, Any]) -> None:
        hidden = [int(part) for part in args["predictor"].split("-") if part]
        self.sizes = list(itertools.pairwise([size, *hidden, size]))
        self.biased, self.relu = args["bias_pred"], args["predictor_relu"]
        written = sum(a * b + b * self.biased for a, b in self.sizes)
        bias, layers = args["bias_hypernet"], []
        for _ in range(2 if args["hypernetwork"] == "deep" else 0):
            layers += [nn.Linear(numbers, numbers, bias=bias), nn.ReLU()]
        net = nn.Sequential(*layers, nn.Linear(numbers, written, bias=bias))
        super().__init__(hypernet=Net(net=net))

    def forward(self, e: Tensor, z: Tensor) -> Tensor:
        written, at = self.hypernet.net(z), 0
        for layer, (inputs, outputs) in enumerate(self.sizes):
            w = written[:, at : at + inputs * outputs].reshape(-1, outputs, inputs)
            at += inputs * outputs
            e = torch.einsum("boi,bi->bo", w, e)
            if self.biased:
                e, at = e + written[:, at : at + outputs], at + outputs
            if self.relu and layer + 1 < len(self.sizes):
                e = e.relu()
        return e


class MLP(Net):
    def __init__(self, size: int, numbers: int, layers: int) -> None:
        found: list[nn.Module] = [nn.Linear(numbers + size, size)]
        for _ in range(layers - 1):
            found += [nn.ReLU(), nn.Linear(size, size)]
        super().__init__(pred=nn.Sequential(*found))

    def forward(self, e: Tensor, z: Tensor) -> Tensor:
        return self.pred(torch.cat([z, e], dim=1))


class Published(nn.Module):
    """A model of the repository; ``forward`` gives its loss without that of the online heads."""

    def __init__(self, option: str, width: int = 64, **given: Any) -> None:
        super().__init__()
        self.option, self.args = option, DEFAULTS | given
        self.backbone: ResNet = resnet18(width=width)
        dim, equi = 8 * width, self.args["equi"]
        sizes = [int(part) for part in self.args["mlp"].split("-")]
        numbers = 6 if option.endswith("RotColor") else 4
        both = option.startswith("SIE") and option != "SIEOnlyEqui"
        if both or "EquiMod" in option:
            inv_dim, equi_dim = (dim - equi, equi) if both else (dim, dim)
            inv = [round(size * inv_dim / dim) for size in sizes]
            moved = [round(size * equi_dim / dim) for size in sizes]
            self.projector_inv, self.projector_equi = projector(inv_dim, inv), projector(equi_dim, moved)
            parts = (dim - equi, equi, inv[-1], moved[-1]) if both else (0, dim, sizes[-1], sizes[-1])
            self.split = inv_dim if both else 0
        elif "OnlyEqui" in option:
            self.projector_equi, moved, parts = projector(dim, sizes), sizes, (0, dim, 0, sizes[-1])
        else:
            free = equi if option == "VICRegPartInv" else 0
            self.projector, parts = projector(dim, sizes), (dim, 0, sizes[-1] - free, free)
        if "AugSelf" in option:
            self.predictor = head(2 * dim, numbers)
            self.predictor[-1] = nn.Linear(2 * dim, numbers)
        elif hasattr(self, "projector_equi"):
            mlp = self.args["predictor_type"] == "mlp"
            self.predictor: nn.Module = (
                MLP(moved[-1], numbers, self.args["tf_num_layers"])
                if mlp
                else Hypernetwork(moved[-1], numbers, self.args)
            )
        self.evaluator = Evaluator(*parts)

    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        x, y = self.backbone(x), self.backbone(y)
        if hasattr(self, "projector_inv") and self.split:
            return self._sie(x, y, z)
        if hasattr(self, "projector_inv"):
            return self._equimod(x, y, z)
        if "OnlyEqui" in self.option:
            return self._only_equi(x, y, z)
        return self._invariant(x, y, z)

    def _sie(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        x_inv, y_inv = (self.projector_inv(v[:, : self.split]) for v in (x, y))
        x_equi, y_equi = (self.projector_equi(v[:, self.split :]) for v in (x, y))
        predicted = self.predictor(x_equi, z)
        sim, factor = self.args["sim_coeff"], self.args["equi_factor"]
        loss = sim * mse(x_inv, y_inv) + factor * sim * mse(predicted, y_equi)
        loss = loss + self._spread(torch.cat([x_inv, x_equi], 1), torch.cat([y_inv, y_equi], 1))
        return loss + (0 if self.option == "SIENoVar" else self.args["std_coeff"] * hinge(predicted) / 2)

    def _equimod(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        x_inv, y_inv, x_equi, y_equi = *map(self.projector_inv, (x, y)), *map(self.projector_equi, (x, y))
        predicted = self.predictor(x_equi, z)
        if self.option == "VICRegEquiMod":
            inv = self.args["sim_coeff"] * mse(x_inv, y_inv) + self._spread(x_inv, y_inv)
            equi = self.args["sim_coeff"] * mse(predicted, y_equi) + self._spread(x_equi, y_equi)
        else:
            inv, equi = self._info_nce(x_inv, y_inv), self._info_nce(predicted, y_equi)
        return inv + equi * (1.0 if self.option.endswith("RotColor") else self.args["equi_factor"])

    def _only_equi(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        x, y = self.projector_equi(x), self.projector_equi(y)
        predicted = self.predictor(x, z)
        if self.option.startswith("SimCLR"):
            return self._info_nce(predicted, y)
        spread = self._spread(x, y) + self.args["std_coeff"] * hinge(predicted) / 2
        return self.args["sim_coeff"] * mse(predicted, y) + spread

    def _invariant(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        a, b = self.projector(x), self.projector(y)
        if self.option.startswith("VICReg"):
            size = a.shape[1] - (self.args["equi"] if self.option == "VICRegPartInv" else 0)
            return self.args["sim_coeff"] * mse(a[:, :size], b[:, :size]) + self._spread(a, b)
        loss = self._info_nce(a, b)
        if "AugSelf" in self.option:
            loss = loss + self.args["ec_weight"] * mse(self.predictor(torch.cat([x, y], 1)), z)
        return loss

    def _spread(self, x: Tensor, y: Tensor) -> Tensor:
        std = hinge(x) / 2 + hinge(y) / 2
        return self.args["std_coeff"] * std + self.args["cov_coeff"] * (off_diagonal(x) + off_diagonal(y))

    def _info_nce(self, x: Tensor, y: Tensor) -> Tensor:
        features = F.normalize(torch.cat([x, y]), dim=1)
        logits = (features @ features.T / self.args["simclr_temp"]).fill_diagonal_(-torch.inf)
        return F.cross_entropy(logits, torch.arange(2 * len(x)).roll(len(x)))


def mse(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().mean()


def hinge(x: Tensor) -> Tensor:
    return (1 - (x.var(dim=0) + 1e-4).sqrt()).relu().mean()


def off_diagonal(x: Tensor) -> Tensor:
    covariance = x.T.cov()
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / x.shape[1]
