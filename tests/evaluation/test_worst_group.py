"""Accuracy by groups of class and biased hue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from equissl.datasets.views.schema import threediebench_schema
from equissl.evaluation.views.config import EvaluateConfig, LinearProbeConfig
from equissl.evaluation.views.features import FeatureSet
from equissl.evaluation.views.probing import probe_all
from equissl.evaluation.views.scores import group_scores

SCHEMA = threediebench_schema()


def test_scores_of_counted_answers() -> None:
    target = torch.tensor([[0, 0], [0, 0], [0, 1], [0, 2], [1, 1], [1, 0], [1, 0], [1, 2]])
    answers = torch.tensor([0, 0, 0, 1, 1, 0, 0, 1])  # by group: 2 of 2, 1 of 2, 1 of 1, 1 of 3
    found = group_scores(F.one_hot(answers, 3).double(), target, np.array([0, 0, 1, 1, 2, 3, 4, 5]), "all", "g")
    assert found["g/all/top1"] == pytest.approx(1 / 3) and found["g/all/all_views"] == 5 / 8
    assert found["g/all/follows"] == 1.0 and found["g/all/against"] == pytest.approx(2 / 5)
    assert found["g/all/top1_se"] == pytest.approx(1 / 3)  # of objects with 0, 0 and 1


def views(share: float, seed: int, objects: int = 60) -> FeatureSet:
    """Features are a clear hue and a noisy class, as a network would see them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(objects) % 2
    latents = torch.zeros(objects, 3, len(SCHEMA), dtype=torch.float64)
    bound = torch.rand(objects, 3, generator=generator) < share
    band = torch.where(bound, labels[:, None], 1 - labels[:, None])
    latents[..., SCHEMA.columns("floor_hue")[0]] = (band + 0.5) / 2
    signal = labels[:, None] - 0.5 + 0.5 * torch.randn(objects, 3, generator=generator)
    quats = F.pad(torch.ones(objects, 3, 1, dtype=torch.float64), (3, 0))
    features = torch.stack([8 * (band - 0.5), signal], dim=-1).float()
    return FeatureSet({"all": features}, np.arange(objects), labels, quats, latents, SCHEMA)


def test_a_probe_of_biased_views_fails_those_that_go_against_the_bias() -> None:
    budget = LinearProbeConfig(steps=300, batch_size=60, lr=0.05)
    config = EvaluateConfig(protocols=["worst_group", "classification"], classification=budget)
    found, _ = probe_all(views(0.99, 0), views(0.5, 1), 2, "canonical", config)
    assert found["worst_group/all/follows"] > 0.95 > 0.3 > found["worst_group/all/against"]
    assert found["worst_group/all/top1"] <= found["worst_group/all/against"]
    assert found["worst_group/all/all_views"] == found["classification/all/top1"]  # the same head
    assert found["worst_group/chance"] == 0.5 and not math.isnan(found["worst_group/all/top1_se"])


def test_it_is_left_out_unless_asked_for() -> None:
    config = EvaluateConfig(classification=LinearProbeConfig(steps=2))
    config.rotation.steps = config.hue.steps = 2
    found, _ = probe_all(views(0.9, 0), views(0.5, 1), 2, "canonical", config)
    assert not any(key.startswith("worst_group") for key in found)
