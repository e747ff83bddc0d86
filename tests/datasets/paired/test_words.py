"""Captions from latents: what each value means in the scene, words that are chosen, and augmentations of texts."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest

from equissl.datasets.paired.text_policies import TEXT_POLICIES, TextPolicy, delete_words, replace_synonyms
from equissl.datasets.paired.words import ATTRIBUTES, Grammar, nouns_of, read_hue, read_light, read_rotation
from equissl.datasets.views.schema import LatentSchema, augmentation_schema, threediebench_schema
from equissl.geometry import euler_to_rotmat
from equissl.renderers.camera import project

SCHEMA = threediebench_schema()
CLASSES = ("chair", "oven_stove", "airplane,aeroplane,plane")


def latents(**values: float) -> np.ndarray:
    row = np.zeros(len(SCHEMA))
    for name, value in values.items():
        row[SCHEMA.columns(name)] = value
    return row


@pytest.mark.parametrize(
    ("degrees", "value"),
    [
        (0, "0"),
        (14, "0"),
        (-14, "0"),
        (31, "30 left"),
        (-44, "30 right"),
        (-46, "60 right"),
        (179, "180"),
        (-166, "180"),
    ],
)
def test_rotations_are_named_to_30_degrees(degrees: float, value: str) -> None:
    assert read_rotation(np.array([math.radians(degrees)])) == value


def test_left_is_the_objects_own() -> None:
    """What looks at the camera and turns to its own left then looks to the camera's right, as a person would."""
    import torch

    turn = euler_to_rotmat(torch.tensor([0.0, 0.0, math.radians(60)])).numpy()
    looks = turn @ np.array([0.0, 0.5, 0.0])  # +y is towards the camera
    assert read_rotation(np.array([math.radians(60)])) == "60 left" and project(looks, 64)[1] > 32


@pytest.mark.parametrize(
    ("hue", "name"),
    [(0, "red"), (0.97, "red"), (1 / 12, "orange"), (0.17, "yellow"), (0.3, "green"), (0.5, "turquoise"),
     (2 / 3, "blue"), (0.76, "purple"), (0.85, "pink")],
)  # fmt: skip
def test_hues_are_named_on_the_circle(hue: float, name: str) -> None:
    assert read_hue(np.array([hue])) == name


@pytest.mark.parametrize("phi", np.linspace(0, 2 * math.pi, 33)[:-1] + 0.01)
def test_the_light_comes_from_where_the_camera_sees_it(phi: float) -> None:
    theta = math.radians(40)
    side = read_light(np.array([theta, phi]))
    place = 0.5 * np.array([math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)])
    _, column, depth = project(place, 64)
    _, middle, level = project(np.array([0, 0, place[2]]), 64)
    sideways, nearer = column - middle, level - depth
    if side in ("left", "right"):
        assert (sideways > 0) == (side == "right")
    else:
        assert (nearer > 0) == (side == "front")
    assert read_light(np.array([math.radians(5), phi])) == "above"


def test_a_caption_says_class_rotation_floor_and_light_in_this_order() -> None:
    grammar = Grammar(CLASSES, SCHEMA, ["rotation", "floor_hue", "light"])
    row = latents(rotation_z=math.radians(28), floor_hue=0.99, light_theta=0.1)
    assert (
        grammar.plain(0, grammar.values(row))
        == "a chair, turned 30 degrees to the left, on a red floor, lit from above"
    )
    form = re.compile(
        r"((a picture|an image|a rendering) of )?a (chair|seat), (turned|rotated) (30 degrees to the left|"
        r"to the left by 30 degrees), on a (red|scarlet) (floor|ground), (lit|illuminated) from (above|overhead)"
    )
    said = Counter(grammar.caption(0, row, epoch, 4, 1) for epoch in range(200))
    assert all(form.fullmatch(text) for text in said) and len(said) > 50
    assert grammar.plain(1) == "an oven or stove" and grammar.plain(2) == "an airplane"


def test_words_are_chosen_by_seed_epoch_object_and_view_alone() -> None:
    row = latents(floor_hue=0.5)
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    drawn = [[Grammar(CLASSES, SCHEMA, seed=s).caption(0, row, *(10 * n + p for p in place)) for n in range(20)]
             for s, place in [*((0, p) for p in places), (1, places[0])]]  # fmt: skip
    again = [Grammar(CLASSES, SCHEMA).caption(0, row, 10 * n, 10 * n, 10 * n) for n in range(20)]
    assert again == drawn[0]
    assert len({tuple(texts) for texts in drawn}) == len(drawn)


def test_captions_speak_only_of_what_the_schema_holds() -> None:
    bare = Grammar(CLASSES, augmentation_schema())
    assert bare.about == () and "," not in bare.caption(0, np.zeros(9), 0, 0, 0)
    partial = Grammar(CLASSES, LatentSchema(tuple(x for x in SCHEMA.latents if x.name != "light_phi")))
    assert partial.about == ("rotation", "floor_hue", "light_hue")
    with pytest.raises(ValueError, match=r"cannot speak of 'light': the store's latents are \['crop_top'"):
        Grammar(CLASSES, augmentation_schema(), ["light"])
    with pytest.raises(ValueError, match=r"unknown attribute 'floor_hues'.*did you mean 'floor_hue'"):
        Grammar(CLASSES, SCHEMA, ["floor_hues"])


def test_every_value_has_phrases_and_the_vocabulary_holds_every_word() -> None:
    rng, grammar = np.random.default_rng(0), Grammar(CLASSES, SCHEMA)
    words = set(grammar.vocabulary())
    for number in range(500):
        row = rng.uniform(0, [1, 1, 2 * math.pi, 1, 1, 2 * math.pi, 1])
        values = grammar.values(row)
        assert all(values[name] in ATTRIBUTES[name].phrases for name in values)
        text = grammar.caption(number % 3, row, 0, number, 0)
        assert set(text.replace(",", " ,").split()) <= words, text


def test_names_of_classes() -> None:
    assert nouns_of("airplane,aeroplane, plane") == ("airplane", "aeroplane", "plane")
    assert nouns_of("night_stand") == ("night stand",) and nouns_of("sofa")[0] == "sofa" and nouns_of("_") == ("_",)


CAPTION = "a picture of a car, turned 30 degrees to the left, on a red floor"


def test_synonyms_keep_the_meaning_and_the_article() -> None:
    rng = np.random.default_rng(0)
    assert replace_synonyms("a car, on a red floor", 1.0, rng) == "an automobile, on a scarlet ground"
    assert replace_synonyms("an oven or stove", 1.0, rng) == "a cooker"
    assert replace_synonyms("a carpet", 1.0, rng) == "a carpet" and replace_synonyms(CAPTION, 0.0, rng) == CAPTION


def test_order_keeps_the_parts_and_deletion_words_in_order() -> None:
    rng = np.random.default_rng(0)
    parts = TextPolicy(0, 1, 0)
    orders = {parts.apply(CAPTION, rng) for _ in range(100)}
    assert len(orders) == 6 and {tuple(sorted(text.split(", "))) for text in orders} == {
        tuple(sorted(CAPTION.split(", ")))
    }
    assert {parts.apply("one two three", rng) for _ in range(50)} == {"two one three", "one three two"}
    words = [f"w{i}" for i in range(2000)]
    kept = delete_words(" ".join(words), 0.3, rng).split()
    assert kept == sorted(kept, key=lambda word: int(word[1:])) and abs(len(kept) / 2000 - 0.7) < 5 * 0.0103
    assert delete_words("one two", 1.0, rng) in ("one", "two") and parts.apply("alone", rng) == "alone"


def test_policies_by_name_options_and_seeds() -> None:
    assert TEXT_POLICIES["none"].apply(CAPTION, np.random.default_rng(0)) == CAPTION
    policy = TEXT_POLICIES["words"].altered({"deletion": 0.5})
    first, again, other = (policy.apply(CAPTION, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other and policy.deletion == 0.5 and policy.order == TEXT_POLICIES["words"].order
    with pytest.raises(ValueError, match=r"unknown option 'delete'.*deletion"):
        policy.altered({"delete": 1})
    with pytest.raises(ValueError, match=r"chance of order in \[0, 1\], got 2"):
        policy.altered({"order": 2})
