"""Generated images: a small diffusion model, trained on a folder of images and sampled into another one.

A class-free DDPM (Ho et al., NeurIPS 2020) with the cosine schedule (Nichol and Dhariwal, ICML 2021), sampled by DDIM
(Song et al., ICLR 2021), from diffusers, an extra: ``pip install 'equissl[diffusion]'``. AdaInf (Wang et al. 2024)
inflates with 1 M images of large models (STF, EDM; FID 1.9 on CIFAR-10); this one, of a few hundred thousand
parameters, shows the mechanism on one CPU core and reaches nothing like that.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.io import write_png

from equissl.datasets.images.formats import AUTO, open_images
from equissl.datasets.images.sources import ImageSource
from equissl.datasets.images.whole import whole_images
from equissl.datasets.sampling import item_seeds
from equissl.losses.momentum import ema_update, make_teacher
from equissl.util.device import choose_device
from equissl.util.files import atomic_path, write_json
from equissl.util.progress import stage

ABOUT, WEIGHTS = "generate.json", "generator.pt"
_INSTALL = "generated images come from diffusers: install it (pip install 'equissl[diffusion]')"
_TRAINING, _SAMPLING = 1, 2  # keep the random numbers of the two apart


class GenerateError(ValueError):
    """Settings that a folder of generated images does not fit, or that no model can have."""


@dataclass(frozen=True)
class GeneratorSpec:
    """Settings of a diffusion model, its training and its samples.

    Attributes:
        size: side of the images in pixels, a multiple of 4, at least 8.
        width: channels of the U-Net's first resolution, twice as many at the two others; a multiple of 8.
        steps: of training.
        batch_size: of training and of sampling.
        lr: of Adam.
        noise_steps: of the diffusion in training.
        sample_steps: of DDIM.
        ema: largest momentum of the averaged weights that are sampled.
        seed: of weights, noise and samples.
    """

    size: int = 32
    width: int = 32
    steps: int = 20_000
    batch_size: int = 64
    lr: float = 1e-3
    noise_steps: int = 1000
    sample_steps: int = 50
    ema: float = 0.995
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 8 or self.size % 4 or self.width < 8 or self.width % 8:
            got = f"{self.size} and {self.width}"
            raise GenerateError(f"expected a size of at least 8 by 4 and a width of at least 8 by 8, got {got}")
        if min(self.steps, self.batch_size) < 1 or not 1 <= self.sample_steps <= self.noise_steps or not self.lr > 0:
            raise GenerateError(f"expected steps, a batch size, lr and sample_steps up to noise_steps, got {self}")
        if not 0 <= self.ema < 1:
            raise GenerateError(f"expected ema of at least 0 and below 1, got {self.ema}")


def generate(
    root: Path | str,
    out: Path | str,
    images: int = 1000,
    spec: GeneratorSpec | None = None,
    format: str = AUTO,
    save_every: int = 200,
    device: str = "auto",
) -> Path:
    """Train the model on the training images of a folder, and write so many generated ones to another.

    Started again, it goes on where it stopped and, on a CPU, ends with the same images. A larger number keeps those of
    a smaller one.

    Args:
        root: images to learn from, see :func:`equissl.datasets.images.formats.open_images`.
        out: folder of the generated images, for ``data.generated``.
        images: how many to generate.
        spec: of model, training and seed.
        format: of the images in ``root``.
        save_every: steps of training between two saved states.
        device: ``auto`` takes a GPU where there is one.

    Returns:
        the folder of generated images.

    Raises:
        ImportError: without diffusers.
        ImagesError: no images in ``root``.
        GenerateError: a folder that another specification or data set filled, or no images asked for.
    """
    spec, out, place = spec or GeneratorSpec(), Path(out), choose_device(device)
    if images < 1:
        raise GenerateError(f"expected at least 1 image to generate, got {images}")
    _unet(spec)  # without the library nothing is begun
    source = open_images(root, "train", format)
    out.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"root": str(source.path.resolve()), "real_images": len(source), **asdict(spec)}
    _check_same(out / ABOUT, about)
    model = _train(source, spec, out / WEIGHTS, save_every, place)
    parameters = sum(p.numel() for p in model.parameters())
    write_json(out / ABOUT, about | {"images": images, "parameters": parameters})
    _sample(model, spec, images, out, place)
    return out


def _check_same(file: Path, about: dict[str, Any]) -> None:
    """Refuse a folder of other images; write what these are before the first step."""
    if not file.is_file():
        write_json(file, about)
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    changed = [key for key, value in about.items() if before.get(key) != value]
    if changed:
        listed = "\n".join(f"  {key}: was {before.get(key)!r}, now {about[key]!r}" for key in changed)
        raise GenerateError(f"{file.parent} holds images of another generator; take another --out:\n{listed}")


def _unet(spec: GeneratorSpec) -> nn.Module:
    """U-Net of three resolutions with attention at the smallest, with weights of the seed."""
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        return UNet2DModel(
            sample_size=spec.size,
            layers_per_block=1,
            block_out_channels=(spec.width, 2 * spec.width, 2 * spec.width),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
        )


def _train(source: ImageSource, spec: GeneratorSpec, file: Path, save_every: int, device: torch.device) -> nn.Module:
    """Train from the saved state on; return the averaged weights."""
    from diffusers import DDPMScheduler

    model = _unet(spec).to(device)
    average = make_teacher(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=spec.lr)
    noising, done = DDPMScheduler(spec.noise_steps, beta_schedule="squaredcos_cap_v2"), 0
    if file.is_file():
        state = torch.load(file, map_location=device, weights_only=True)
        model.load_state_dict(state["model"]), average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    with stage(spec.steps - done, "diffusion", "steps") as bar:
        for step in range(done, spec.steps):
            loss = _loss(model, noising, source, spec, step, device)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            ema_update(average, model, min(spec.ema, (1 + step) / (10 + step)))
            bar.update(1)
            if (step + 1) % save_every == 0 or step + 1 == spec.steps:
                _save(file, model, average, optimizer, step + 1)
    return average.eval()


def _loss(
    model: nn.Module, noising: Any, source: ImageSource, spec: GeneratorSpec, step: int, device: torch.device
) -> Tensor:
    """Mean square of predicted noise minus the noise, of images that are functions of (seed, step) alone."""
    random = _generator(spec.seed, _TRAINING, step)
    rows = torch.randint(len(source), (spec.batch_size,), generator=random)
    images = whole_images(source.read(rows.numpy()), spec.size).float() / 127.5 - 1
    mirrored = torch.rand(len(images), generator=random) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    noise = torch.randn(images.shape, generator=random)
    times = torch.randint(spec.noise_steps, (len(images),), generator=random)
    noisy = noising.add_noise(images, noise, times).to(device)
    return F.mse_loss(model(noisy, times.to(device)).sample, noise.to(device))


def _save(file: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    with atomic_path(file) as temporary:
        torch.save(state, temporary)


@torch.no_grad()
def _sample(model: nn.Module, spec: GeneratorSpec, images: int, out: Path, device: torch.device) -> None:
    """Write the images that are not there yet, batch by batch; each batch has a seed of its own."""
    from diffusers import DDIMScheduler

    denoising = DDIMScheduler(spec.noise_steps, beta_schedule="squaredcos_cap_v2")
    denoising.set_timesteps(spec.sample_steps)
    starts = range(0, images, spec.batch_size)
    with stage(images, "generated", "img") as bar:
        for start in starts:
            places = range(start, min(start + spec.batch_size, images))
            files = [out / f"{place:07d}.png" for place in places]
            if not all(file.is_file() for file in files):
                shape = (spec.batch_size, 3, spec.size, spec.size)
                x = torch.randn(shape, generator=_generator(spec.seed, _SAMPLING, start)).to(device)
                for time in denoising.timesteps:
                    x = denoising.step(model(x, time).sample, time, x).prev_sample
                made = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
                for image, file in zip(made, files, strict=False):  # of a last batch fewer are asked for
                    with atomic_path(file, sync=False) as temporary:
                        write_png(image, str(temporary))
            bar.update(len(files))


def _generator(seed: int, purpose: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(item_seeds(seed, purpose, number)))
