"""Hypernetwork predictor of SIE: the action gives the weights of the network that moves the embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.metrics import shortcut_share

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
        residual: predict e + W(z − z₀)·e, where z₀ is the identity action: no change is predicted to change nothing,
            whatever the weights.
        identity_action: z₀, for ``residual`` and ``identity``, for example (0, 0, 0, 1).

    Raises:
        ValueError: for an unknown ``init``, or ``identity`` with anything but the single linear layer that is not
            ``residual``.
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
        residual: bool = False,
        identity_action: Sequence[float] = (0.0, 0.0, 0.0, 1.0),
    ) -> None:
        super().__init__()
        sizes = (dim, *hidden, dim)
        self.shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.action_dim, self.activation, self.target_bias, self.init = action_dim, activation, target_bias, init
        written = sum(out * (inner + target_bias) for out, inner in self.shapes)
        trunk: list[nn.Module] = []
        for _ in range(2 if deep else 0):
            trunk += [nn.Linear(action_dim, action_dim, bias=hyper_bias), nn.ReLU()]
        self.net = nn.Sequential(*trunk, nn.Linear(action_dim, written, bias=hyper_bias))
        self.register_buffer("origin", torch.zeros(action_dim) if residual else None)
        self._initialise()
        self.set_identity(identity_action)

    origin: Tensor | None

    @property
    def _last(self) -> nn.Linear:
        return cast(nn.Linear, self.net[-1])

    @torch.no_grad()
    def _initialise(self) -> None:
        if self.init not in get_args(HypernetworkInit):
            raise ValueError(f"expected init to be one of {list(get_args(HypernetworkInit))}, got {self.init!r}")
        last = self._last
        single = len(self.shapes) == len(self.net) == 1 and not self.target_bias and last.bias is None
        if self.init == "identity" and not (single and self.origin is None):
            raise ValueError(
                "init='identity' is for the single linear layer: no hidden, deep, target_bias, hyper_bias or residual"
            )
        if self.init == "scaled":
            layers = last.weight.split([out * (inner + self.target_bias) for out, inner in self.shapes])
            for rows, (_, inner) in zip(layers, self.shapes, strict=True):
                rows.div_(inner**0.5)

    @torch.no_grad()
    def set_identity(self, action: Sequence[float]) -> None:
        """Start from W = 1 at this action where ``init`` is ``identity``, and measure ``residual`` actions from it.

        Args:
            action: z₀, (A,).

        Raises:
            ValueError: for another size, where it matters.
        """
        if self.init != "identity" and self.origin is None:
            return
        identity = torch.tensor(action)
        if identity.shape != (self.action_dim,):
            raise ValueError(f"expected identity_action of {self.action_dim} numbers, got {list(action)}")
        if self.origin is not None:
            self.origin.copy_(identity)
        else:  # the least-norm matrices with Σ_k z_k A_k = 1 at the identity action
            coefficients = identity / identity.square().sum()
            self._last.weight.copy_((torch.eye(self.shapes[0][0]).unsqueeze(-1) * coefficients).flatten(0, 1))

    @torch.no_grad()
    def shortcut_share(self, actions: Tensor) -> float:
        """Compute the share of the equivariance loss that an invariant embedding leaves at the start.

        Args:
            actions: (N, A) of training pairs.

        Returns:
            0 where a bias, or ``residual``, makes an invariant embedding free; else see
            :func:`equissl.metrics.shortcut_share`.
        """
        if self.origin is not None or self._last.bias is not None or self.target_bias:
            return 0.0
        return shortcut_share(self.net[:-1](actions.to(self._last.weight.dtype)))

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
        if self.origin is not None:
            return embedding + self._write(embedding, action - self.origin.to(action.dtype))
        return self._write(embedding, action)

    def _write(self, embedding: Tensor, action: Tensor) -> Tensor:
        """W(z)·e with the weights that the hypernetwork writes."""
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
