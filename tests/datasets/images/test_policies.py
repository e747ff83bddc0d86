"""Augmentation policies: published values, torchvision v2 as oracle, frequencies, and addresses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import beta
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from equissl.datasets.images.pixels import crop_resize
from equissl.datasets.images.policies import BYOL, POLICIES, SIMCLR, SIMCLR_CIFAR, SWAV, Recipe
from equissl.datasets.images.sequences import AugmentationSequences, SmallCrops, choose_policy
from equissl.datasets.images.sequences.augmentations import augment, blur_kernel, random_boxes
from equissl.datasets.images.sources import ImageFiles, Images, StoredImages
from equissl.datasets.images.whole import whole_images
from equissl.datasets.loader import ViewLoader

BICUBIC = v2.InterpolationMode.BICUBIC


def pictures(number: int, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, 3, height, width), dtype=torch.uint8, generator=generator)


def source(number: int, size: int = 32) -> StoredImages:
    return StoredImages(pictures(number, size, size), torch.arange(number) % 3, ("a", "b", "c"), Path("pictures"))


class Ragged(StoredImages):
    """Images of several sizes, as a folder gives them."""

    def read(self, rows: np.ndarray) -> Images:  # type: ignore[override]
        found = [image[:, : 20 + 3 * (row % 4)] for row, image in zip(rows, super().read(rows), strict=True)]
        return torch.stack(found) if len({x.shape for x in found}) == 1 else found


def test_published_values() -> None:
    """SimCLR A and B.9; BYOL B, table 6; SwAV's large crops."""
    assert SIMCLR.reach == (0.8, 0.8, 0.8, 0.2) and SIMCLR_CIFAR.reach == (0.4, 0.4, 0.4, 0.1)
    assert (SIMCLR.blur, SIMCLR_CIFAR.blur, SIMCLR.scale, SIMCLR.sigma) == (0.5, 0.0, (0.08, 1.0), (0.1, 2.0))
    first, second = POLICIES["asymmetric"].recipes(2)
    assert first == BYOL and first.reach == second.reach == (0.4, 0.4, 0.2, 0.1)
    assert (first.blur, first.solarize, second.blur, second.solarize) == (1.0, 0.0, 0.1, 0.2)
    for recipe in (SIMCLR, first, second, SWAV):
        assert (recipe.flip, recipe.jitter, recipe.gray, recipe.ratio) == (0.5, 0.8, 0.2, (3 / 4, 4 / 3))
    assert SWAV.scale == (0.14, 1.0) and all(not r.blur for r in POLICIES["asymmetric_cifar"].recipes(2))
    assert blur_kernel(224) == 23  # BYOL's; SimCLR's is a tenth of the view


def one_by_one(image: Tensor, row: Tensor, size: int) -> Tensor:
    """Apply the latents of one view with torchvision, step by step."""
    height, width = image.shape[1:]
    sides = torch.tensor([height, width, height, width])
    box = (row[:4] * sides).round().int().tolist()
    made = V.to_dtype(image, torch.float32, scale=True)
    made = V.resized_crop(made, *box, [size, size], BICUBIC, antialias=True).clamp(0, 1)
    brightness, contrast, saturation, hue, sigma = row[4:].tolist()
    made = V.adjust_contrast(V.adjust_brightness(made, brightness), contrast)
    made = V.adjust_hue(V.adjust_saturation(made, saturation), hue)
    return V.gaussian_blur(made, [blur_kernel(size)] * 2, [sigma] * 2) if sigma else made


@pytest.mark.parametrize("ragged", [False, True])
def test_views_are_torchvision_s(ragged: bool) -> None:
    """All parameters are latents but flips, gray, solarisation and the order of colours, which are held still here."""
    recipe = Recipe((0.08, 1.0), flip=0.0, gray=0.0, jitter=0.8, brightness=0.8, contrast=0.8, hue=0.2, blur=0.5)
    images = [x[:, : 20 + i] for i, x in enumerate(pictures(12))] if ragged else pictures(12)
    chances = torch.rand(12, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    chances[:, 9] = 0  # brightness, contrast, saturation, hue in this order
    views, latents = augment(images, recipe, chances, 24)
    for image, view, row in zip(images, views, latents, strict=True):
        assert (one_by_one(image, row, 24) * 255 - view).abs().max() < 0.6
    assert 0 < (latents[:, 8] > 0).sum() < 12 and (latents[:, 4:8] != torch.tensor([1, 1, 1, 0])).any(1).sum() > 5


def test_large_images_are_cropped_as_torchvision_crops_8_bits() -> None:
    images = [pictures(1, 150, 200)[0], pictures(1, 40, 30)[0], pictures(1, 150, 200, seed=1)[0]]
    boxes = torch.tensor([[10, 20, 100, 90], [0, 0, 40, 30], [0, 0, 150, 150]])
    found = crop_resize(images, boxes, 24)
    for row in (0, 2):
        expected = V.resized_crop(images[row], *boxes[row].tolist(), [24, 24], BICUBIC, antialias=True)
        assert torch.equal((found[row] * 255).round().to(torch.uint8), expected)
    for row, image in enumerate(images):
        assert torch.equal(crop_resize(image[None], boxes[row : row + 1], 24)[0], found[row])


def test_unobserved_changes_are_torchvision_s() -> None:
    images, chances = pictures(40), torch.rand(40, 32, dtype=torch.float64)
    for change, oracle in (
        ({"flip": 1.0}, V.horizontal_flip),
        ({"gray": 1.0}, lambda x: V.rgb_to_grayscale(x, 3)),
        ({"solarize": 1.0}, lambda x: V.solarize(x, 128)),
    ):
        views, _ = augment(images, choose_policy("none", change).recipe, chances, 32)
        assert (views.int() - oracle(images).int()).abs().max() <= 1, change


def test_frequencies() -> None:
    """Each change as often as its recipe says, within four standard deviations of a binomial."""
    number = 4000
    images = pictures(1, 8, 8).expand(number, -1, -1, -1)
    chances = torch.rand(number, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def share(seen: Tensor, expected: float) -> None:
        allowed = 4 * (expected * (1 - expected) / number) ** 0.5
        assert abs(float(seen.double().mean()) - expected) <= allowed, expected

    for recipe in (SIMCLR, *POLICIES["asymmetric"].recipes(2), SIMCLR_CIFAR):
        _, latents = augment(images, recipe, chances, 8)
        share((latents[:, 4:8] != torch.tensor([1, 1, 1, 0])).any(1), recipe.jitter)
        share(latents[:, 8] > 0, recipe.blur)
        low, high = latents[:, 4].aminmax()
        assert 1 - recipe.brightness <= low < 1 - 0.9 * recipe.brightness and high > 1 + 0.9 * recipe.brightness
    plain = choose_policy("none").recipe
    base, _ = augment(images, plain, chances, 8)
    for change, expected in (("flip", 0.5), ("gray", 0.2), ("solarize", 0.2)):
        views, _ = augment(images, choose_policy("none", {change: expected}).recipe, chances, 8)
        share((views != base).flatten(1).any(1), expected)


def test_areas_follow_torchvision_s_distribution() -> None:
    torch.manual_seed(0)
    number, sides = 20_000, torch.tensor([[48, 80]])
    chances = torch.rand(number, 22, dtype=torch.float64)
    ours = random_boxes(chances, sides.expand(number, 2), SIMCLR)[:, 2:].double().prod(1) / (48 * 80)
    crop, image = v2.RandomResizedCrop(8, SIMCLR.scale, SIMCLR.ratio), torch.zeros(3, 48, 80)
    params = (crop.make_params([image]) for _ in range(4000))
    theirs = torch.tensor([p["height"] * p["width"] for p in params]).double() / (48 * 80)
    error = (ours.var() / number + theirs.var() / 4000).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 4 * error


def test_centre_suppressed_crops_lie_in_the_outer_parts_of_the_middle() -> None:
    recipe = choose_policy("centre_suppressed_cifar", {"scale": [0.04, 0.0401], "ratio": [1, 1]}).recipe
    chances = torch.rand(4000, 22, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sides = torch.tensor([[200, 400]])
    boxes = random_boxes(chances, sides.expand(4000, 2), recipe).double()
    centres = (boxes[:, :2] + boxes[:, 2:] / 2) / sides
    place = (centres - 0.25) / 0.5  # within the box of the centres
    assert place.min() > -0.01 and place.max() < 1.01
    expected = beta(0.1, 0.1)
    near = expected.cdf(0.8) - expected.cdf(0.2)
    assert abs(float(((place > 0.2) & (place < 0.8)).double().mean()) - near) < 4 * (near / 8000) ** 0.5
    assert near < 0.2  # a uniform centre is there three times as often
    assert abs(float(place.mean()) - 0.5) < 0.02
    assert float(torch.corrcoef(place.T)[0, 1].abs()) < 0.06


def test_centred_crops_stay_inside() -> None:
    recipe = choose_policy("centre_suppressed").recipe
    chances = torch.rand(2000, 22, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    boxes = random_boxes(chances, torch.tensor([[32, 48]]).expand(2000, 2), recipe)
    assert boxes[:, :2].min() == 0 and (boxes[:, :2] + boxes[:, 2:] <= torch.tensor([32, 48])).all()
    plain = random_boxes(chances, torch.tensor([[32, 48]]).expand(2000, 2), SIMCLR)
    assert torch.equal(plain[:, 2:], boxes[:, 2:])  # areas are SimCLR's


@pytest.mark.parametrize("policy", ["simclr", "asymmetric", "multi_crop", "centre_suppressed", "none"])
@pytest.mark.parametrize("images", [source(12), Ragged(pictures(12), torch.zeros(12).long(), ("a",), Path("x"))])
def test_an_address_gives_the_same_views_in_any_company(policy: str, images: StoredImages) -> None:
    def dataset(views: int = 2, seed: int = 5) -> AugmentationSequences:
        return AugmentationSequences(
            images,
            views=views,
            seed=seed,
            size=16,
            policy=choose_policy(policy),
            small_crops=SmallCrops(2, 8, (0.1, 0.3)),
        )

    batch, alone = dataset().__getitems__([(3, 4), (2, 4), (2, 7)]), dataset()[(2, 4)]
    assert torch.equal(batch.images[1], alone.images[0]) and torch.equal(batch.latents[1], alone.latents[0])
    assert batch.small_crops is not None and alone.small_crops is not None
    assert torch.equal(batch.small_crops[1], alone.small_crops[0]) and alone.small_crops.shape == (1, 2, 3, 8, 8)
    assert not torch.equal(alone.small_crops[0, 0], alone.small_crops[0, 1])
    assert torch.equal(dataset(views=3)[(2, 4)].images[:, 0], alone.images[:, 0])  # a view does not depend on others
    if policy != "none":
        assert not torch.equal(batch.latents[0], batch.latents[1])  # another epoch
        assert not torch.equal(dataset(seed=6)[(2, 4)].latents, alone.latents)
        assert not torch.equal(alone.latents[0, 0], alone.latents[0, 1])


def test_workers_give_the_same_batches() -> None:
    def batches(workers: int) -> list[Tensor]:
        data = AugmentationSequences(source(16), size=16, policy=POLICIES["simclr_cifar"], seed=1)
        return [batch.images for batch in ViewLoader(data, batch_size=4, workers=workers)]

    for here, there in zip(batches(0), batches(2), strict=True):
        assert torch.equal(here, there)


def test_small_crops_are_of_their_own_share() -> None:
    """Seen in a ramp: the spread of the values in a crop grows with its share of the image."""
    ramp = torch.linspace(0, 255, 64).round().to(torch.uint8).expand(50, 3, 64, 64)
    images = StoredImages(ramp, torch.zeros(50).long(), ("a",), Path("x"))
    small = SmallCrops(3, 16, (0.05, 0.14))
    data = AugmentationSequences(images, size=16, policy=choose_policy("multi_crop", {"jitter": 0}), small_crops=small)
    batch = data.__getitems__([(0, i) for i in range(50)])
    assert batch.small_crops is not None
    spread = [(x.amax((2, 3, 4)) - x.amin((2, 3, 4)).int()).float().mean() for x in (batch.small_crops, batch.images)]
    assert spread[0] < 0.6 * spread[1]


def test_whole_images() -> None:
    images = pictures(4)
    assert torch.equal(whole_images(images, 32), images)
    wide = pictures(2, 20, 40)
    expected = V.resize(wide[:, :, :, 10:30].float() / 255, [16, 16], BICUBIC, antialias=True).clamp(0, 1)
    assert (whole_images(wide, 16).float() - 255 * expected).abs().max() <= 0.51
    mixed = [wide[0], images[0]]
    assert torch.equal(whole_images(mixed, 16)[0], whole_images(wide, 16)[0])
    assert torch.equal(
        crop_resize(mixed, torch.tensor([[0, 10, 20, 20], [0, 0, 32, 32]]), 32)[1] * 255, images[0].float()
    )


def test_options_and_unknown_names() -> None:
    changed = choose_policy("asymmetric", {"flip": 0, "scale": [0.5, 1.0], "last": {"solarize": 0.5}})
    first, last = changed.recipes(2)
    assert first.flip == last.flip == 0 and last.scale == (0.5, 1.0) and (first.solarize, last.solarize) == (0, 0.5)
    assert choose_policy("asymmetric", {"last": None}).last is None
    assert choose_policy("simclr", {"last": {"blur": 1.0}}).recipes(3)[1:] == [
        SIMCLR,
        Recipe(**{**vars(SIMCLR), "blur": 1.0}),
    ]
    for name, options, message in (
        ("simcrl", {}, "did you mean 'simclr'"),
        ("simclr", {"blurr": 1}, "did you mean 'blur'"),
        ("simclr", {"blur": 2}, r"chance of blur in \[0, 1\], got 2"),
        ("simclr", {"scale": [0.5, 1.5]}, "expected scale"),
        ("simclr", {"hue": 0.6}, "hue of at most 0.5"),
        ("simclr", {"centre": 0}, "centre above 0, or None, got 0"),
        ("simclr", {"middle": [0.6, 0.5]}, "expected middle"),
        ("equissl.datasets.images.policies:PLAIN", {}, "to be a Policy"),
    ):
        with pytest.raises(ValueError, match=message):
            choose_policy(name, options)


def test_the_schema_holds_what_a_policy_can_draw() -> None:
    data = AugmentationSequences(source(200), size=8, policy=POLICIES["simclr"])
    latents = data.__getitems__([(0, i) for i in range(200)]).latents
    for column, latent in enumerate(data.schema.latents):
        assert latent.low - 1e-6 <= latents[..., column].min() and latents[..., column].max() <= latent.high + 1e-6
    assert data.schema.latents[4].high == 1.8 and data.schema.latents[7].low == -0.2


def test_a_size_is_that_of_the_images() -> None:
    assert AugmentationSequences(source(2, 24), policy=POLICIES["simclr"])[(0, 0)].images.shape[-2:] == (24, 24)
    assert ImageFiles(["a"], torch.zeros(1).long(), ("a",), Path("x")).size is None
