"""Hypernetwork predictor of SIE: the action gives the weights of the network that moves the embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HypernetworkInit = Literal["default", "scaled", "identity"]


class LinearHypernetwork(nn.Module):
    """Predictor W(z)·e with weights W(z) that are linear in the action z (Garrido et al. 2023, arXiv 2302.10283).

    With the defaults pred = (Σ_k z_k A_k) e, linear in both arguments. The (B, D, D) weights never exist: W(z)·e is one
    linear map of the outer product e ⊗ z, and the hypernetwork's matrix already lies in memory as that map needs it.

    Args:
        dim: D, size of embedding and prediction.
        action_dim: size of z.
        hidden: sizes of further layers of the target network; none in the paper's runs.
        activation: whether a ReLU stands between the layers of the target network.
        target_bias: whether its layers have a bias, written by the hypernetwork as well.
        hyper_bias: whether the hypernetwork's layers have a bias.
        deep: put two layers of ``action_dim`` units with ReLU before the hypernetwork's own.
        init: ``default`` is PyTorch's for a linear layer: predictions start about 0.3·sqrt(D) times as long as the
            embedding. ``scaled`` divides that by sqrt(D); ``identity`` starts with W = 1 for the identity action.
        identity_action: the action that ``identity`` maps to the identity matrix, for example (0, 0, 0, 1).

    Raises:
        ValueError: for an unknown ``init``, or ``identity`` with anything but the single linear layer.
    """

    def __init__(
        self,
        dim: int,
        action_dim: int = 4,
        hidden: Sequence[int] = (),
        activation: bool = False,
        target_bias: bool = False,
        hyper_bias: bool = False,
        deep: bool = False,
        init: HypernetworkInit = "default",
        identity_action: Sequence[float] = (0.0, 0.0, 0.0, 1.0),
    ) -> None:
        super().__init__()
        sizes = (dim, *hidden, dim)
        self.shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.action_dim, self.activation, self.target_bias = action_dim, activation, target_bias
        written = sum(out * (inner + target_bias) for out, inner in self.shapes)
        trunk: list[nn.Module] = []
        for _ in range(2 if deep else 0):
            trunk += [nn.Linear(action_dim, action_dim, bias=hyper_bias), nn.ReLU()]
        self.net = nn.Sequential(*trunk, nn.Linear(action_dim, written, bias=hyper_bias))
        self._initialise(init, torch.tensor(identity_action))

    @property
    def _last(self) -> nn.Linear:
        return cast(nn.Linear, self.net[-1])

    @torch.no_grad()
    def _initialise(self, init: HypernetworkInit, identity_action: Tensor) -> None:
        last = self._last
        if init == "scaled":
            layers = last.weight.split([out * (inner + self.target_bias) for out, inner in self.shapes])
            for rows, (_, inner) in zip(layers, self.shapes, strict=True):
                rows.div_(inner**0.5)
        elif init == "identity":
            if len(self.shapes) > 1 or len(self.net) > 1 or self.target_bias or last.bias is not None:
                raise ValueError(
                    "init='identity' is for the single linear layer: no hidden, deep, target_bias or hyper_bias"
                )
            if identity_action.shape != (self.action_dim,):
                raise ValueError(
                    f"expected identity_action of {self.action_dim} numbers, got {identity_action.tolist()}"
                )
            # the least-norm matrices with Σ_k z_k A_k = 1 at the identity action
            coefficients = identity_action / identity_action.square().sum()
            last.weight.copy_((torch.eye(self.shapes[0][0]).unsqueeze(-1) * coefficients).flatten(0, 1))
        elif init != "default":
            raise ValueError(f"expected init to be one of {list(get_args(HypernetworkInit))}, got {init!r}")

    def forward(self, embedding: Tensor, action: Tensor) -> Tensor:
        """Predict the embedding after the action.

        Args:
            embedding: e, (B, D).
            action: z, (B, action_dim).

        Returns:
            (B, D), also for B = 1.

        Raises:
            ValueError: if the shapes are not these.
        """
        expected = ((len(embedding), self.shapes[0][1]), (len(embedding), self.action_dim))
        if (got := (tuple(embedding.shape), tuple(action.shape))) != expected:
            raise ValueError(f"expected embedding and action of shapes {expected}, got {got}")
        last, action = self._last, self.net[:-1](action)
        weight = last.weight
        if last.bias is not None:  # a bias is the weight of an input that is always 1
            action, weight = F.pad(action, (0, 1), value=1.0), torch.cat([weight, last.bias.unsqueeze(1)], dim=1)
        return self._target(embedding, action, weight)

    def _target(self, x: Tensor, action: Tensor, weight: Tensor) -> Tensor:
        for layer, (out, inner) in enumerate(self.shapes):
            if layer and self.activation:
                x = F.relu(x)
            rows, weight = weight[: out * inner], weight[out * inner :]
            y = F.linear((x.unsqueeze(2) * action.unsqueeze(1)).flatten(1), rows.reshape(out, -1))
            if self.target_bias:
                y, weight = y + F.linear(action, weight[:out]), weight[out:]
            x = y
        return x
