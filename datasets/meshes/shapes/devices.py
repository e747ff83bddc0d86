"""Parametric electronics. Front along +y, ground at z = 0."""

from __future__ import annotations

from equissl.datasets.meshes.builder import Builder


def electronics(b: Builder) -> None:
    """Television, monitor with keyboard, laptop, stereo, telephone or camera."""
    b.pick([_television, _television, _computer, _laptop, _laptop, _stereo, _telephone, _camera])(
        b, b.material("dark", "dark", "metal", "white", "plastic"), b.material("dark", "glass")
    )


def _television(b: Builder, body: int, screen: int) -> None:
    width, foot = b.uniform(0.6, 1.3), b.uniform(0.04, 0.14)
    height, deep = (
        width * b.uniform(0.55, 0.72),
        b.pick([b.uniform(0.03, 0.08), b.uniform(0.03, 0.08), b.uniform(0.25, 0.45)]),
    )
    b.span((-width / 2, -deep / 2, foot), (width / 2, deep / 2, foot + height), body)
    edge = b.uniform(0.015, 0.06)
    b.span(
        (-width / 2 + edge, deep / 2, foot + edge * 1.6),
        (width / 2 - edge, deep / 2 + 0.006, foot + height - edge),
        screen,
    )
    b.box((0, -deep / 2 - 0.03, foot + height * 0.4), (width * 0.5, 0.06, height * 0.5), body)
    b.box((0, -0.02, foot / 2), (0.07, 0.04, foot), body)
    b.box((0, 0.02, 0.01), (width * b.uniform(0.3, 0.6), b.uniform(0.18, 0.28), 0.02), body)
    b.box((width * 0.38, deep / 2 + 0.004, foot + edge * 0.7), (0.02, 0.006, 0.008), b.material("red", "light"))


def _computer(b: Builder, body: int, screen: int) -> None:
    _television(b, body, screen)
    keys, black = b.material("white", "dark"), b.material("dark", "metal")
    width, y = b.uniform(0.35, 0.45), b.uniform(0.28, 0.4)
    b.box((0.05, y, 0.01), (width, 0.15, 0.02), keys)
    for row in range(4):
        b.box((0.05, y - 0.05 + row * 0.033, 0.022), (width * 0.92, 0.022, 0.008), black)
    b.blob((-0.05 - width / 2 - 0.06, y, 0.015), (0.03, 0.05, 0.02), keys, 0.7, 10)


def _laptop(b: Builder, body: int, screen: int) -> None:
    width, lean = b.uniform(0.3, 0.4), b.uniform(0.05, 0.6)
    depth, keys = width * 0.68, b.material("dark", "white")
    b.box((0, 0, 0.01), (width, depth, 0.02), body)
    for row in range(5):
        b.box((0, -depth * 0.36 + row * depth * 0.11, 0.021), (width * 0.88, depth * 0.085, 0.005), keys)
    b.box((0, depth * 0.32, 0.021), (width * 0.28, depth * 0.22, 0.003), b.material("metal", "dark"))
    with b.placed((0, -depth / 2, 0.018), pitch=lean):
        b.span((-width / 2, -0.008, 0), (width / 2, 0.004, depth), body)
        b.span((-width * 0.46, 0.003, depth * 0.06), (width * 0.46, 0.007, depth * 0.94), screen)


def _stereo(b: Builder, body: int, screen: int) -> None:
    width, height, depth = b.uniform(0.25, 0.45), b.uniform(0.08, 0.3), b.uniform(0.2, 0.3)
    b.span((-width / 2, -depth / 2, 0), (width / 2, depth / 2, height), body)
    knob, cone = b.material("metal", "dark"), b.material("dark")
    b.box((width * 0.15, depth / 2, height * 0.65), (width * 0.5, 0.01, height * 0.3), screen)
    b.cylinder(
        (-width * 0.32, depth / 2, height * 0.5),
        (-width * 0.32, depth / 2 + 0.02, height * 0.5),
        height * 0.2,
        knob,
        sides=14,
    )
    for k in range(b.integer(3, 6)):
        b.box((width * (0.36 - 0.09 * k), depth / 2, height * 0.22), (width * 0.06, 0.016, height * 0.12), knob)
    if b.chance(0.6):
        case, tall = b.material("wood", "dark", "plastic"), max(height, 0.25) * b.uniform(1.0, 1.6)
        for side in (-1, 1):
            x = side * (width / 2 + 0.1)
            b.span((x - 0.08, -depth / 2, 0), (x + 0.08, depth / 2, tall), case)
            for z, radius in ((tall * 0.3, 0.06), (tall * 0.72, 0.04)):
                b.cylinder((x, depth / 2, z), (x, depth / 2 + 0.012, z), radius, cone, sides=14)


def _telephone(b: Builder, body: int, screen: int) -> None:
    width, height, thick = b.uniform(0.05, 0.08), b.uniform(0.11, 0.17), b.uniform(0.006, 0.02)
    keys = b.material("white", "dark", "metal")
    with b.placed(pitch=b.uniform(0.0, 0.3)):
        b.box((0, 0, height / 2), (width, thick, height), body)
        share = b.uniform(0.35, 0.8)
        b.span(
            (-width * 0.42, thick / 2, height * (0.93 - share)),
            (width * 0.42, thick / 2 + 0.002, height * 0.93),
            screen,
        )
        if share < 0.6:
            for row in range(3):
                for column in (-1, 0, 1):
                    b.box(
                        (column * width * 0.28, thick / 2, height * (0.07 + row * 0.09)),
                        (width * 0.2, 0.005, height * 0.05),
                        keys,
                    )
    b.cylinder((0, thick / 2, height * 0.965), (0, thick / 2 + 0.003, height * 0.965), 0.004, keys, sides=10)
    if b.chance(0.5):
        b.box((0, 0, 0.012), (width * 1.5, 0.07, 0.03), b.material("dark", "white"))


def _camera(b: Builder, body: int, screen: int) -> None:
    width, height, depth = b.uniform(0.09, 0.14), b.uniform(0.06, 0.1), b.uniform(0.025, 0.06)
    b.cushion((-width / 2, -depth / 2, 0), (width / 2, depth / 2, height), body, 0.15)
    x, long = b.uniform(-0.15, 0.05) * width, b.uniform(0.015, 0.1)
    lens = b.material("dark", "metal")
    b.cylinder((x, depth / 2, height * 0.48), (x, depth / 2 + long, height * 0.48), height * 0.36, lens, sides=18)
    b.cylinder(
        (x, depth / 2 + long, height * 0.48),
        (x, depth / 2 + long + 0.002, height * 0.48),
        height * 0.27,
        screen,
        sides=14,
    )
    b.cylinder((width * 0.33, 0, height), (width * 0.33, 0, height + 0.008), 0.009, lens, sides=10)
    b.box((x, 0, height + 0.01), (width * 0.3, depth * 0.7, 0.025), body)
    b.span((-width * 0.3, -depth / 2 - 0.002, height * 0.15), (width * 0.3, -depth / 2, height * 0.8), screen)
