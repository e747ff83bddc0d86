"""OBoW: the order of its step, its vocabulary, its levels and small crops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from equissl.datasets.views.batch import ViewBatch
from equissl.encoders.config import EncoderConfig
from equissl.losses import bags_of_words, map_locations, nearest_word_distances, word_locations
from equissl.methods.views.obow import OBoW


def build(**options: Any) -> OBoW:
    torch.manual_seed(0)
    return OBoW(EncoderConfig(width=4), **{"words": 16, "views": 2, "inverse_delta": 2.0, **options})


def maps_of(method: OBoW, batch: ViewBatch) -> list[torch.Tensor]:
    return method.teacher["encoder"].stage_maps(method.normalise(batch.images[:, -1]))[-2:]


def test_words_start_as_the_positive_part_of_gaussian_numbers() -> None:
    rows = torch.cat([vocabulary.rows.flatten() for vocabulary in build(words=512).vocabularies])
    assert rows.min() == 0 and abs(float((rows == 0).float().mean()) - 0.5) < 0.02
    assert abs(float(rows.square().mean()) - 0.5) < 0.03


def test_words_of_a_vision_transformer_are_tokens_of_its_patches(batch: ViewBatch) -> None:
    method = OBoW(EncoderConfig("timm/test_vit", options={"img_size": 64}), words=16, views=2)
    output = method.step(batch)
    output.loss.backward()
    method.after_step(0, 10)
    tokens = method.teacher["encoder"].model.forward_features(method.normalise(batch.images[:, -1]))
    places = word_locations(tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))
    words = method.vocabularies[-1].rows[:6]
    assert all(bool((place == word).all(dim=1).any()) for place, word in zip(places, words, strict=True))
    torch.testing.assert_close(output.features[:, -1], tokens[:, 0])  # of the class token


def test_nothing_moves_before_the_optimiser_has_stepped(batch: ViewBatch) -> None:
    method = build()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method.step(batch)
    state = method.state_dict()
    kept = ("vocabularies", "distances", "draws", "teacher.networks.encoder.conv1.weight")
    assert all(torch.equal(state[key], value) for key, value in before.items() if key.startswith(kept))
    method.after_step(0, 10)
    assert int(method.draws) == 1 and all(int(v.written) == 6 for v in method.vocabularies)
    method.eval().step(batch)
    method.after_step(1, 10)
    assert int(method.draws) == 1  # an evaluation adds no words


def test_bags_are_in_units_of_a_distance_that_has_moved_first(batch: ViewBatch) -> None:
    method = build()
    words = [vocabulary() for vocabulary in method.vocabularies]
    maps = maps_of(method, batch)
    bags = method._bags(maps, words)
    for found, known, bag, after in zip(maps, words, bags, _moved(method), strict=True):
        features = map_locations(found)
        distance = 0.99 * 0.5 + 0.01 * nearest_word_distances(features, known).mean()
        torch.testing.assert_close(bag, bags_of_words(features, known, 2.0 / distance))
        torch.testing.assert_close(after, distance)


def _moved(method: OBoW) -> torch.Tensor:
    method.after_step(0, 10)
    return method.distances


def test_each_image_gives_one_of_its_features_as_a_word(batch: ViewBatch) -> None:
    method = build()
    maps = maps_of(method, batch)
    method.step(batch)
    method.after_step(0, 10)
    for found, vocabulary in zip(maps, method.vocabularies, strict=True):
        candidates = word_locations(found)
        for image, word in enumerate(vocabulary.rows[:6]):
            assert torch.cdist(word[None], candidates[image]).min() < 1e-4
    method.step(batch)
    method.after_step(1, 10)
    assert all(int(vocabulary.written) == 12 for vocabulary in method.vocabularies)


def test_accumulated_batches_all_give_words(build_batch: Any) -> None:
    method = build()
    for seed in (0, 1):
        method.step(build_batch(seed=seed))
    method.after_step(0, 10)
    assert int(method.draws) == 2 and all(int(vocabulary.written) == 12 for vocabulary in method.vocabularies)


def test_the_teacher_keeps_its_own_statistics(batch: ViewBatch) -> None:
    method = build(momentum=(0.0, 0.0))  # its weights are the student's
    for _ in range(3):
        method.step(batch)
        method.after_step(0, 10)
    student, teacher = method.encoder, method.teacher["encoder"]
    assert torch.equal(student.conv1.weight, teacher.conv1.weight)
    assert not torch.equal(student.bn1.running_mean, teacher.bn1.running_mean)


def test_small_crops_add_a_loss_of_their_own(batch: ViewBatch) -> None:
    method = build(small_crops=2, small_size=32)
    out = method.step(batch)
    torch.testing.assert_close(out.loss.detach(), out.terms["bow"] + out.terms["bow_small"])
    crops = torch.randint(0, 255, (6, 2, 3, 32, 32), dtype=torch.uint8)
    given = method.step(replace(batch, small_crops=crops))
    torch.testing.assert_close(given.terms["bow"], out.terms["bow"])
    with pytest.raises(ValueError, match="expected 2 small crops each, got 1"):
        method.step(replace(batch, small_crops=crops[:, :1]))
    assert 1 <= out.terms["words_of_image"] <= out.terms["words_of_batch"] <= 16


def test_a_batch_that_is_not_finite_leaves_the_words(batch: ViewBatch) -> None:
    method = build()
    before = method.vocabularies[0].rows.clone()
    broken = batch.images.float().clone()
    broken[1, 1, 0, 0] = float("nan")
    assert not method.step(replace(batch, images=broken)).loss.isfinite()
    method.after_step(0, 10)
    assert torch.equal(method.vocabularies[0].rows, before) and method.distances.isfinite().all()


def test_one_level_and_other_backbones(batch: ViewBatch) -> None:
    assert len(build(levels=1).heads) == 1
    backbone = EncoderConfig(name="torchvision/resnet18")
    method = OBoW(backbone, words=8, views=2)
    assert [v.rows.shape[1] for v in method.vocabularies] == [256, 512] and method.step(batch).loss.isfinite()


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"levels in 1..4, the stages of the encoder, got 5"):
        build(levels=5)
    with pytest.raises(ValueError, match="at least 2 words and views"):
        build(views=1)
