"""The momentum teacher."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equissl.losses.momentum import cosine_momentum, ema_update, make_teacher


def network(value: float) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    for tensor in model.state_dict().values():
        tensor.fill_(value)
    return model


def test_parameters_are_averaged_and_buffers_copied() -> None:
    student, teacher = network(5.0), network(1.0)
    ema_update(teacher, student, 0.75)
    for parameter in teacher.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, 2.0))
    assert all((buffer == 5).all() for buffer in teacher.buffers())
    assert all((value == 5).all() for value in student.state_dict().values())


@pytest.mark.parametrize(("momentum", "expected"), [(0.0, 5.0), (1.0, 1.0)])
def test_limits(momentum: float, expected: float) -> None:
    teacher = network(1.0)
    ema_update(teacher, network(5.0), momentum)
    assert all((parameter == expected).all() for parameter in teacher.parameters())


def test_many_steps_follow_the_geometric_series() -> None:
    student, teacher = network(1.0), network(0.0)
    for _ in range(1000):
        ema_update(teacher, student, 0.999)
    torch.testing.assert_close(teacher[0].weight, torch.full((2, 3), 1 - 0.999**1000), rtol=1e-4, atol=0)


def test_a_teacher_is_a_separate_copy_without_gradient() -> None:
    student = network(1.0)
    teacher = make_teacher(student)
    ema_update(teacher, student.bfloat16(), 0.5)
    student[0].weight.data.fill_(9)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert (teacher[0].weight == 1).all() and teacher[0].weight.dtype == torch.float32


def test_cosine_schedule() -> None:
    assert cosine_momentum(0, 100) == pytest.approx(0.996)
    assert cosine_momentum(50, 100) == pytest.approx(0.998)
    assert cosine_momentum(100, 100) == cosine_momentum(200, 100) == 1.0
    assert cosine_momentum(1, 3, 0.99, 1.0) == pytest.approx(1 - 0.01 * (1 + 0.5) / 2)
    with pytest.raises(ValueError, match="step >= 0 and total >= 1, got -1 and 5"):
        cosine_momentum(-1, 5)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\], got 1.5"):
        ema_update(network(0), network(0), 1.5)
    with pytest.raises(ValueError, match="differ in 2 parameters: bias, weight"):
        ema_update(nn.Linear(2, 4), nn.Linear(2, 3), 0.5)
    with pytest.raises(ValueError, match="differ in 1 parameters: bias"):
        ema_update(nn.Linear(2, 3), nn.Linear(2, 3, bias=False), 0.5)
    with pytest.raises(ValueError, match="differ in 3 buffers: num_batches_tracked"):
        ema_update(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False), 0.5)
    with pytest.raises(ValueError, match=r"half precision in 0\.weight"):
        ema_update(network(0).bfloat16(), network(0), 0.5)
