"""Benchmark of a voxel backbone's forward and backward pass on every sparse backend: seconds and memory."""

from __future__ import annotations

import logging
import resource
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.encoders.voxel import VoxelFeatures, create_voxel_backbone
from equissl.sparse import BACKENDS, VoxelGrid, available_backends, choose_backend, set_backend, voxelize

MEBI = 2**20
KITTI = VoxelGrid((0, -40, -3, 70.4, 40, 1), (0.05, 0.05, 0.1))
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Step:
    """One backend's medians.

    Attributes:
        voxelize: seconds of the voxeliser.
        forward: seconds, the making of index maps included.
        backward: seconds.
        mebibytes: most memory of tensors at a time on an accelerator; on the CPU that of the process so far.
        difference: largest of the output from the torch backend's, over that one's largest magnitude; None for torch.
    """

    voxelize: float
    forward: float
    backward: float
    mebibytes: float
    difference: float | None

    @property
    def seconds(self) -> float:
        return self.voxelize + self.forward + self.backward


def bench_sparse(
    backends: str = "available",
    backbone: str = "VoxelBackBone8x",
    sweeps: int = 2,
    points: int = 20000,
    repeats: int = 3,
    amp: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, float]:
    """Measure training steps, without optimiser and loss, on the KITTI grid of 1408 x 1600 x 40 voxels.

    The sweeps are synthetic: rings on a plane and upright boxes, the same on every machine.

    Args:
        backends: names separated by commas, or all that are installed and run on the device.
        backbone: which one.
        sweeps: in a batch.
        points: of a sweep.
        repeats: of a step; the first, not counted, warms up.
        amp: precision of an automatic mixed precision, ``bfloat16`` or ``float16``; none by default.
        device: such as ``cuda``; by default it where there is one.
        threads: of the CPU; by default as many as torch chooses.

    Returns:
        for each backend seconds of the parts, ``sweeps_per_second``, memory, and the difference from the torch backend.

    Raises:
        BackendError: for a backend that was asked for by name and cannot run.
        ValueError: for an unknown backend, backbone or precision, or numbers below 1.
    """
    if min(sweeps, points, repeats) < 1:
        raise ValueError(f"expected at least one sweep, point and repeat, got {sweeps}, {points}, {repeats}")
    if amp not in (None, "bfloat16", "float16"):
        raise ValueError(f"expected amp bfloat16 or float16, got {amp!r}")
    create_voxel_backbone(backbone)  # an unknown one shows before anything is measured
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    names = _names(backends, where)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _run(names, backbone, synthetic_clouds(sweeps, points, where), repeats, amp)
    finally:
        torch.set_num_threads(before)


def synthetic_clouds(sweeps: int, points: int, device: torch.device) -> list[Tensor]:
    """Create points (points, 4) of each sweep: three quarters on rings of the ground, the others on upright boxes.

    Args:
        sweeps: number of clouds.
        points: in each cloud.
        device: of the clouds.
    """
    generator = torch.Generator().manual_seed(0)
    return [_cloud(points, generator).to(device) for _ in range(sweeps)]


def _cloud(points: int, generator: torch.Generator) -> Tensor:
    ground = 3 * points // 4
    elevation = torch.linspace(0.026, 0.35, 64)[torch.randint(64, (ground,), generator=generator)]
    azimuth = (torch.rand(ground, generator=generator) - 0.5) * torch.pi / 2
    reach = 1.73 / elevation.tan()
    plane = torch.stack([reach * azimuth.cos(), reach * azimuth.sin(), torch.full_like(reach, -1.73)], dim=1)
    boxes = torch.rand(40, 3, generator=generator) * torch.tensor([65.0, 60.0, 0.0]) + torch.tensor([3.0, -30.0, -1.73])
    corner = boxes[torch.randint(40, (points - ground,), generator=generator)]
    box = corner + torch.rand(points - ground, 3, generator=generator) * torch.tensor([0.2, 2.0, 1.6])
    xyz = torch.cat([plane + 0.01 * torch.randn(plane.shape, generator=generator), box])
    return torch.cat([xyz, torch.rand(points, 1, generator=generator)], dim=1)


def _names(text: str, device: torch.device) -> list[str]:
    if text == "available":
        return available_backends(device)
    names = text.split(",")
    if unknown := [name for name in names if name not in BACKENDS]:
        raise ValueError(f"unknown backends {', '.join(unknown)}; expected some of {', '.join(BACKENDS)}")
    for name in names:
        choose_backend(name, device)
    return names


def _run(names: list[str], backbone: str, clouds: list[Tensor], repeats: int, amp: str | None) -> dict[str, float]:
    device = clouds[0].device
    result: dict[str, float] = {}
    torch.manual_seed(0)
    model = create_voxel_backbone(backbone).to(device)
    voxels = len(voxelize(clouds, KITTI).tensor)
    logger.info(
        f"{device}, {torch.get_num_threads()} threads, {backbone}, {len(clouds)} sweeps, {voxels} voxels, amp {amp}"
    )
    differences = _differences(model, clouds, names)  # before training steps move the statistics of BatchNorm
    for name in names:
        set_backend(model, name)
        step = _measure(model, clouds, repeats, amp, differences.get(name))
        logger.info(_line(name, step, len(clouds)))
        result |= _entries(name, step, len(clouds))
    return {"sweeps": len(clouds), "voxels": voxels, **result}


def _measure(
    model: torch.nn.Module, clouds: list[Tensor], repeats: int, amp: str | None, difference: float | None
) -> _Step:
    device = clouds[0].device
    _step(model, clouds, amp)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = list(zip(*(_step(model, clouds, amp) for _ in range(repeats)), strict=True))
    voxel, forward, backward = (statistics.median(part) for part in times)
    return _Step(voxel, forward, backward, _memory(device), difference)


def _step(model: torch.nn.Module, clouds: list[Tensor], amp: str | None) -> tuple[float, float, float]:
    device = clouds[0].device
    model.train().zero_grad()
    clock = [_now(device)]
    x = voxelize(clouds, KITTI).tensor
    clock.append(_now(device))
    with torch.autocast(device.type, dtype=getattr(torch, amp or "bfloat16"), enabled=amp is not None):
        out: VoxelFeatures = model(x)
    clock.append(_now(device))
    out.out.features.float().square().mean().backward()
    clock.append(_now(device))
    return clock[1] - clock[0], clock[2] - clock[1], clock[3] - clock[2]


def _differences(model: torch.nn.Module, clouds: list[Tensor], names: list[str]) -> dict[str, float]:
    """Compute the largest difference of each backend's output from torch's, over torch's largest magnitude."""
    outputs = {}
    for name in {"torch", *names} if names != ["torch"] else ():
        set_backend(model, name)
        outputs[name] = _output(model, clouds)
    return {
        name: float((output - outputs["torch"]).abs().max() / outputs["torch"].abs().max())
        for name, output in outputs.items()
        if name != "torch"
    }


@torch.no_grad()
def _output(model: torch.nn.Module, clouds: list[Tensor]) -> Tensor:
    """Return the features of the last stage in float32, in the order of the sites."""
    out = model.eval()(voxelize(clouds, KITTI).tensor).out
    return out.features[out.sites.order]


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBI
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _line(name: str, step: _Step, sweeps: int) -> str:
    line = (
        f"{name:<14} voxelise {step.voxelize:8.4f} s  forward {step.forward:8.4f} s  backward {step.backward:8.4f} s  "
        f"{sweeps / step.seconds:8.2f} sweeps/s {step.mebibytes:8.0f} MiB"
    )
    return line if step.difference is None else f"{line}  difference from torch {step.difference:.1e}"


def _entries(name: str, step: _Step, sweeps: int) -> dict[str, float]:
    entries = {
        "voxelize_s": step.voxelize,
        "forward_s": step.forward,
        "backward_s": step.backward,
        "sweeps_per_second": sweeps / step.seconds,
        "mebibytes": step.mebibytes,
    }
    if step.difference is not None:
        entries["difference"] = step.difference
    return {f"{name}/{key}": value for key, value in entries.items()}
