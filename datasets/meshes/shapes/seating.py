"""Parametric chairs and sofas. Front along +y, ground at z = 0."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.builder import Builder
from equissl.datasets.meshes.shapes.furniture import four_legs


def chair(b: Builder) -> None:
    """A side chair, an office chair or an armchair."""
    if b.chance(0.25):
        return _upholstered(b, seats=1, width=b.uniform(0.5, 0.75))
    seat_height, width, depth = b.uniform(0.4, 0.5), b.uniform(0.38, 0.54), b.uniform(0.38, 0.5)
    frame, seat = (
        b.material("wood", "metal", "dark", "white", "plastic"),
        b.material("wood", "fabric", "plastic", "leather"),
    )
    thick = b.uniform(0.02, 0.08)
    if b.chance(0.6):
        b.cushion(
            (-width / 2, -depth / 2, seat_height - thick),
            (width / 2, depth / 2, seat_height),
            seat,
            b.uniform(0.1, 0.4),
        )
    else:
        b.box((0, 0, seat_height - thick / 2), (width, depth, thick), seat)
    legs = b.pick(["four", "four", "four", "pedestal", "star", "sled"])
    if legs == "four":
        four_legs(b, width, depth, seat_height - thick / 2, frame, inset=0.0)
        if b.chance(0.4):
            for x in (-1, 1):
                b.box((x * (width / 2 - 0.02), 0, seat_height * 0.4), (0.02, depth - 0.04, 0.03), frame)
    elif legs == "sled":
        _sled(b, width, depth, seat_height - thick / 2, frame)
    else:
        _pedestal(b, seat_height - thick, frame, star=legs == "star")
    _chair_back(b, width, depth, seat_height, frame, seat)
    if b.chance(0.35):
        _armrests(b, width, depth, seat_height, frame)
    return None


def _sled(b: Builder, width: float, depth: float, height: float, material: int) -> None:
    for x in (-width / 2 + 0.02, width / 2 - 0.02):
        y = depth / 2 - 0.02
        b.tube([(x, -y, height), (x, -y, 0.02), (x, y, 0.02), (x, y, height)], 0.013, material)


def _pedestal(b: Builder, height: float, material: int, star: bool) -> None:
    b.cylinder((0, 0, 0.04), (0, 0, height), b.uniform(0.02, 0.04), material)
    if not star:
        radius = b.uniform(0.18, 0.26)
        return b.lathe([(0, 0), (radius, 0), (radius, 0.015), (0.05, 0.04), (0, 0.05)], material)
    black = b.material("dark")
    for k in range(5):
        angle = 2 * np.pi * k / 5 + 0.3
        foot = (0.28 * np.cos(angle), 0.28 * np.sin(angle), 0.06)
        b.cylinder((0, 0, 0.1), foot, 0.02, material)
        b.blob((foot[0], foot[1], 0.03), (0.03, 0.03, 0.03), black, sides=8)
    return None


def _chair_back(b: Builder, width: float, depth: float, seat: float, frame: int, panel: int) -> None:
    height, lean = b.uniform(0.35, 0.6), b.uniform(0.0, 0.22)
    style = b.pick(["panel", "panel", "cushion", "slats", "rungs", "cross", "hoop"])
    narrow = b.uniform(0.8, 1.0) * width
    with b.placed((0, -depth / 2 + 0.02, seat - 0.02), pitch=lean):
        if style == "cushion":
            return b.cushion((-narrow / 2, -0.035, 0.06), (narrow / 2, 0.045, height), panel, b.uniform(0.2, 0.5))
        if style == "panel":
            top, shoulder = b.uniform(0.6, 1.0) * narrow / 2, height * 0.9
            right = [(narrow / 2, 0), (top, shoulder), (top * 0.8, height)]
            left = [(-x, z) for x, z in right[::-1]]
            return b.prism([*right, *left], -0.012, 0.012, "y", panel)
        if style == "hoop":
            angle = np.linspace(0, np.pi, 11)
            path = [(narrow / 2 * np.cos(a), 0, height * np.sin(a) ** 0.6) for a in angle]
            b.tube(path, 0.014, frame)
        else:
            for x in (-narrow / 2 + 0.015, narrow / 2 - 0.015):
                b.box((x, 0, height / 2), (0.03, 0.03, height), frame)
            b.box((0, 0, height - 0.035), (narrow, 0.028, 0.07), frame)
        if style == "cross":
            for sign in (-1, 1):
                b.cylinder((-sign * narrow * 0.45, 0, 0.08), (sign * narrow * 0.45, 0, height - 0.07), 0.011, frame)
        elif style == "rungs":
            for z in np.linspace(0.12, height - 0.12, b.integer(2, 4)):
                b.box((0, 0, z), (narrow - 0.04, 0.018, 0.04), frame)
        else:
            for x in np.linspace(-0.33, 0.33, b.integer(3, 6)):
                b.box((x * narrow, 0, height / 2), (0.022, 0.014, height * 0.86), frame)
    return None


def _armrests(b: Builder, width: float, depth: float, seat: float, frame: int) -> None:
    height, reach = b.uniform(0.17, 0.25), b.uniform(0.6, 1.0) * depth
    for x in (-width / 2 - 0.02, width / 2 + 0.02):
        b.box((x, -depth / 2 + reach / 2, seat + height), (0.04, reach, 0.025), frame)
        b.box((x, -depth / 2 + reach - 0.03, seat + height / 2 - 0.04), (0.025, 0.025, height + 0.08), frame)


def sofa(b: Builder) -> None:
    """Two to four seats, some with a chaise on one side."""
    seats = b.integer(2, 4)
    _upholstered(b, seats, seats * b.uniform(0.5, 0.72))


def _upholstered(b: Builder, seats: int, width: float) -> None:
    """A padded base with arms and a back; ``width`` is that of the seats together."""
    cloth = b.material("fabric", "leather", "fabric", "white")
    cushion = b.material("fabric", "leather", "white") if b.chance(0.4) else cloth
    depth, seat, arm = b.uniform(0.7, 0.9), b.uniform(0.36, 0.45), b.uniform(0.1, 0.24)
    back, lean = b.uniform(0.35, 0.55), b.uniform(0.05, 0.25)
    leg = b.uniform(0.02, 0.14)
    base = seat * b.uniform(0.4, 0.6)
    arms = b.chance(0.88)
    outer = width / 2 + (arm if arms else 0)
    b.span((-outer, -depth / 2, leg), (outer, depth / 2 - 0.03, max(base, leg + 0.05)), cloth)
    pad = width / seats
    for k in range(seats):
        x = -width / 2 + k * pad
        b.cushion((x, -depth / 2 + 0.1, base - 0.03), (x + pad, depth / 2, seat + 0.03), cushion, b.uniform(0.15, 0.3))
        with b.placed((x + pad / 2, -depth / 2 + 0.22, seat - 0.04), pitch=lean):
            b.cushion((-pad / 2, -0.09, 0), (pad / 2, 0.09, back), cushion, b.uniform(0.2, 0.4))
    with b.placed((0, -depth / 2 + 0.07, leg), pitch=lean * 0.5):
        b.cushion((-outer, -0.08, 0), (outer, 0.08, seat + back * 0.85), cloth, 0.15)
    if arms:
        _sofa_arms(b, width, depth, seat, arm, leg, cloth)
    if seats > 1 and b.chance(0.25):
        side, reach = b.pick([-1, 1]), b.uniform(0.5, 0.8)
        x = side * (width / 2 - pad / 2)
        b.span((x - pad / 2, depth / 2 - 0.05, leg), (x + pad / 2, depth / 2 + reach, base), cloth)
        b.cushion(
            (x - pad / 2, depth / 2 - 0.1, base - 0.03), (x + pad / 2, depth / 2 + reach, seat + 0.03), cushion, 0.2
        )
    if seats > 1 and b.chance(0.4):
        pillow = b.material("fabric")
        for side in (-1, 1) if b.chance(0.6) else (b.pick([-1, 1]),):
            with b.placed((side * (width / 2 - 0.22), -depth / 2 + 0.4, seat + 0.2), pitch=0.4, yaw=-side * 0.4):
                b.blob((0, 0, 0), (0.2, 0.07, 0.2), pillow, 0.5)
    four_legs(b, 2 * outer, depth, leg + 0.01, b.material("wood", "metal", "dark"))


def _sofa_arms(b: Builder, width: float, depth: float, seat: float, arm: float, leg: float, cloth: int) -> None:
    top, style, power = seat + b.uniform(0.12, 0.25), b.pick(["box", "soft", "roll"]), b.uniform(0.15, 0.4)
    for side in (-1, 1):
        inner, outer = side * width / 2, side * (width / 2 + arm)
        low, high = (min(inner, outer), -depth / 2, leg), (max(inner, outer), depth / 2 - 0.02, top)
        if style == "soft":
            b.cushion(low, high, cloth, power)
        else:
            b.span(low, high, cloth)
        if style == "roll":
            x = (inner + outer) / 2
            b.cylinder((x, -depth / 2, top), (x, depth / 2, top), arm * 0.6, cloth, sides=14)
