"""Augmentation sequences against torchvision, their recipes, and their determinism."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as V
from torch import Tensor
from torchvision.transforms import InterpolationMode

from equissl.datasets.images import pixels
from equissl.datasets.images.policies import OBSERVED, PLAIN, TARGET, Policy, Recipe
from equissl.datasets.images.sequences import AugmentationSequences, open_sequences
from equissl.datasets.images.sequences.augmentations import augment, blur_kernel, random_boxes
from equissl.datasets.images.sources import StoredImages
from equissl.datasets.loader import ViewLoader


def pictures(number: int = 6, height: int = 32, width: int = 40, seed: int = 0) -> Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(seed))


def source(number: int = 12, size: int = 32) -> StoredImages:
    images = (pictures(number, size, size) * 255).to(torch.uint8)
    return StoredImages(images, torch.arange(number) % 3, ("a", "b", "c"), Path("pictures"))


@pytest.mark.parametrize("size", [16, 32, 48])
def test_crops_are_torchvision_s(size: int) -> None:
    images = pictures()
    boxes = torch.tensor(
        [[0, 0, 32, 40], [3, 5, 20, 17], [10, 0, 9, 40], [0, 39, 32, 1], [31, 0, 1, 1], [7, 7, 25, 33]]
    )
    found = pixels.crop_resize_together(images, boxes, size)
    for image, box, ours in zip(images, boxes.tolist(), found, strict=True):
        expected = V.resized_crop(image, *box, [size, size], InterpolationMode.BICUBIC, antialias=True)
        torch.testing.assert_close(ours, expected.clamp(0, 1), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (pixels.brightness, V.adjust_brightness, (0.6, 0.9, 1.0, 1.1, 1.4, 1.3)),
        (pixels.contrast, V.adjust_contrast, (0.6, 0.9, 1.0, 1.1, 1.4, 1.3)),
        (pixels.saturation, V.adjust_saturation, (0.8, 0.9, 1.0, 1.1, 1.2, 0.0)),
        (pixels.hue, V.adjust_hue, (-0.1, -0.05, 0.0, 0.02, 0.1, 0.5)),
    ],
)
def test_colour_changes_are_torchvision_s(ours, theirs, factors) -> None:
    images = pictures()
    images[0] = images[0, :1]  # gray
    images[1, :, :4] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    found = ours(images, torch.tensor(factors))
    expected = torch.stack([theirs(image, factor) for image, factor in zip(images, factors, strict=True)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel", [3, 7])
def test_blur_is_torchvision_s(kernel: int) -> None:
    images, sigma = pictures(), torch.tensor([0.1, 0.5, 1.0, 1.3, 1.9, 2.0])
    expected = torch.stack(
        [V.gaussian_blur(x, [kernel] * 2, [float(s)] * 2) for x, s in zip(images, sigma, strict=True)]
    )
    torch.testing.assert_close(pixels.blur(images, sigma, kernel), expected, atol=1e-6, rtol=0)


def test_solarize_is_torchvision_s() -> None:
    images = (pictures() * 255).to(torch.uint8)
    found = (pixels.solarize(images.float() / 255) * 255).round().to(torch.uint8)
    assert torch.equal(found, V.solarize(images, 128))


def test_kernel_sizes_of_the_protocol() -> None:
    assert [blur_kernel(size) for size in (32, 64, 96)] == [3, 7, 9]


def test_a_recipe_that_does_nothing() -> None:
    images = source().images
    views, latents = augment(images, PLAIN, torch.rand(12, 32, dtype=torch.float64), 32)
    assert torch.equal(views, images)
    expected = torch.tensor([0, 0, 1, 1, 1, 1, 1, 0, 0], dtype=torch.float64).expand(12, 9)
    assert torch.equal(latents, expected)


def test_latents_say_how_a_view_was_made() -> None:
    """Made again with torchvision from the latents alone, where nothing unobserved happens."""
    recipe = Recipe(flip=0.0, jitter=0.0, gray=0.0, blur=1.0)
    images = source().images
    views, latents = augment(images, recipe, torch.rand(12, 32, dtype=torch.float64), 32)
    for image, view, row in zip(images, views, latents, strict=True):
        box = (row[:4] * 32).round().int().tolist()
        made = V.resized_crop(image / 255, *box, [32, 32], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
        made = V.gaussian_blur(made, [3, 3], [float(row[8])] * 2)
        assert (made * 255 - view).abs().max() < 0.6


def test_boxes_follow_torchvision_s_distribution() -> None:
    chances = torch.rand(20_000, 22, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    boxes = random_boxes(chances, torch.full((20_000, 2), 32), OBSERVED).double()
    top, left, height, width = boxes.unbind(1)
    assert boxes.min() >= 0 and (top + height).max() <= 32 and (left + width).max() <= 32
    share, ratio = height * width / 1024, width / height
    assert share.min() > 0.18 and share.max() == 1 and ratio.min() > 0.68 and ratio.max() < 1.45
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.zeros(3, 32, 32)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(20_000)])
    for ours, column in zip((top, left, height, width), theirs.double().T, strict=True):
        assert abs(ours.mean() - column.mean()) < 0.2 and abs(ours.std() - column.std()) < 0.2


def test_box_that_never_fits_is_the_largest_in_the_middle() -> None:
    wide = Recipe(scale=(1.0, 1.0), ratio=(4.0, 5.0))
    boxes = random_boxes(torch.rand(3, 22, dtype=torch.float64), torch.full((3, 2), 32), wide)
    assert boxes.tolist() == [[12, 0, 8, 32]] * 3


def test_observed_views_and_the_target_are_made_by_their_recipes() -> None:
    data = AugmentationSequences(source(300), views=4, seed=1)
    batch = data.__getitems__([(0, i) for i in range(300)])
    assert batch.images.shape == (300, 4, 3, 32, 32) and batch.images.dtype == torch.uint8
    sigma = batch.latents[..., 8]
    assert (sigma[:, :3] >= 0.1).all() and sigma.max() <= 2
    assert 0.03 < (sigma[:, 3] > 0).float().mean() < 0.2
    assert abs(sigma[:, :3].mean() - 1.05) < 0.1 and abs(sigma[:, 3][sigma[:, 3] > 0].mean() - 1.05) < 0.35
    neutral = (batch.latents[..., 4:8] == torch.tensor([1.0, 1.0, 1.0, 0.0])).all(-1).float().mean()
    assert abs(neutral - 0.2) < 0.05
    low, high = batch.latents[..., 4:8].flatten(0, 1).aminmax(dim=0)
    assert torch.allclose(low, torch.tensor([0.6, 0.6, 0.8, -0.1]), atol=0.02)
    assert torch.allclose(high, torch.tensor([1.4, 1.4, 1.2, 0.1]), atol=0.02)
    alike = AugmentationSequences(source(300), views=4, seed=1, policy=Policy(OBSERVED))
    others = alike.__getitems__([(0, i) for i in range(300)])
    assert torch.equal(others.images[:, :3], batch.images[:, :3]) and (others.latents[:, 3, 8] > 0).all()
    assert TARGET.blur == 0.1


def test_an_address_gives_the_same_views_in_any_company() -> None:
    data = AugmentationSequences(source(), views=3, seed=5)
    batch = data.__getitems__([(2, 4), (3, 4), (2, 7)])
    alone = data[(2, 4)]
    assert torch.equal(alone.images[0], batch.images[0]) and torch.equal(alone.latents[0], batch.latents[0])
    assert not torch.equal(batch.latents[0], batch.latents[1])  # another epoch
    assert not torch.equal(batch.latents[0, 0], batch.latents[0, 1])
    other = AugmentationSequences(source(), views=3, seed=6)[(2, 4)]
    assert not torch.equal(other.latents, alone.latents)
    more = AugmentationSequences(source(), views=5, seed=5, policy=Policy(OBSERVED))[(2, 4)]
    assert torch.equal(more.images[:, :2], alone.images[:, :2])  # actions do not depend on how many views there are
    assert batch.labels.tolist() == [1, 1, 1] and batch.objects.tolist() == [4, 4, 7]


def test_loads_like_stored_views() -> None:
    loader = ViewLoader(AugmentationSequences(source(), views=2), batch_size=4)
    assert [len(batch) for batch in loader] == [4, 4, 4]
    assert sorted(i for batch in loader for i in batch.objects.tolist()) == list(range(12))


def test_wrong_kinds_and_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'saccades'"):
        open_sequences("saccade", "nowhere", "train", 2)
    with pytest.raises(ValueError, match=r"options of augmentations: .*patch"):
        open_sequences("augmentations", "nowhere", "train", 2, patch=3)
    with pytest.raises(ValueError, match="at least 1 view"):
        AugmentationSequences(source(), views=0)
    assert np.isfinite(OBSERVED.hue)
