"""Losses under torch.compile: every one as a graph, one of each kind of computation as C++."""

from __future__ import annotations

import shutil

import pytest
import torch
from loss_cases import CASES, random_views

COMPILER = next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
# A check of a number (a singular covariance), or a random generator, splits the graph.
BREAKS = {"w_mse", "w_mse_chunks", "whitened_copies", "mochi", "sup_re_mix", "sup_re_mix_through_mixtures"}
# A C++ compiler takes seconds for each: blockwise log-sum-exp, covariance, Cholesky, Sinkhorn, sorting network, queue.
# sup_re_mix_through_mixtures is left out: inductor of torch 2.11 gives another gradient than eager and aot_eager.
IN_CPP = ("nt_xent", "vicreg", "w_mse", "swav", "groco", "moco")


def check_compiled(name: str, backend: str) -> None:
    torch.compiler.reset()
    z, loss = random_views(8).requires_grad_(), CASES[name].loss
    value, expected = torch.compile(loss, backend=backend, fullgraph=name not in BREAKS)(z), loss(z)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-11)
    gradients = [torch.autograd.grad(v, z)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", sorted(CASES))
def test_traced_and_decomposed_gives_the_same_value_and_gradient(name: str) -> None:
    check_compiled(name, "aot_eager_decomp_partition")  # what inductor is given


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="torch.compile's inductor backend needs a C++ compiler")
@pytest.mark.parametrize("name", IN_CPP)
def test_inductor_gives_the_same_value_and_gradient(name: str) -> None:
    check_compiled(name, "inductor")
