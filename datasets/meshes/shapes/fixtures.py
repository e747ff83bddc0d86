"""Parametric lamps, radiators, railings, columns, sockets and switches. Front along +y."""

from __future__ import annotations

import numpy as np

from equissl.datasets.meshes.builder import Builder


def lamp(b: Builder) -> None:
    """Shaded table or floor lamp, desk lamp on an arm, arc lamp, lantern, wall or street lamp."""
    kind = b.pick(["shade", "shade", "floor", "desk", "desk", "arc", "wall", "street", "spots"])
    metal, shade = (
        b.material("metal", "brass", "dark", "wood", "white"),
        b.material("fabric", "white", "light", "light"),
    )
    {"shade": _shade_lamp, "floor": _shade_lamp, "desk": _desk_lamp, "arc": _arc_lamp, "wall": _wall_lamp,
     "street": _street_lamp, "spots": _spots}[kind](b, metal, shade, kind)  # fmt: skip


def _shade(b: Builder, at: tuple[float, float, float], radius: float, height: float, material: int) -> None:
    taper = b.uniform(0.35, 0.95)
    b.lathe(
        [(radius, 0), (radius * taper, height), (radius * taper - 0.004, height), (radius - 0.004, 0)], material, at
    )
    b.blob((at[0], at[1], at[2] + height * 0.45), (0.035, 0.035, 0.05), b.material("light"), sides=8)


def _shade_lamp(b: Builder, metal: int, shade: int, kind: str) -> None:
    height = b.uniform(1.2, 1.7) if kind == "floor" else b.uniform(0.25, 0.55)
    foot = b.uniform(0.08, 0.16)
    if kind == "floor" or b.chance(0.4):
        b.lathe([(0, 0), (foot, 0), (foot, 0.02), (0.02, 0.045)], metal)
        b.cylinder((0, 0, 0.03), (0, 0, height), b.uniform(0.008, 0.02), metal)
    else:
        profile = [(foot * b.uniform(0.3, 1.0), z) for z in np.linspace(0.02, height * 0.8, 6)]
        b.lathe([(0, 0), (foot, 0), *profile, (0.015, height * 0.85), (0.015, height), (0, height)], metal)
    size = b.uniform(0.14, 0.24)
    _shade(b, (0, 0, height - size * 0.5), size, size * b.uniform(0.8, 1.4), shade)
    # the switch on its cord makes the front
    b.cylinder((0, 0, height * 0.9), (0, size * 0.5, height * 0.75), 0.004, b.material("dark"), sides=6)
    b.cylinder((0, 0.02, 0.02), (0, foot * 1.3, 0.008), 0.006, b.material("dark"), sides=6)


def _desk_lamp(b: Builder, metal: int, shade: int, kind: str) -> None:
    first, second, head = b.uniform(0.2, 0.32), b.uniform(0.18, 0.3), b.uniform(0.05, 0.09)
    lean, reach = b.uniform(0.1, 0.5), b.uniform(0.2, 1.0)
    elbow = np.array([0, -first * np.sin(lean), 0.03 + first * np.cos(lean)])
    end = elbow + second * np.array([0, np.cos(reach), np.sin(reach)])
    b.lathe([(0, 0), (0.09, 0), (0.09, 0.02), (0, 0.035)], metal)
    b.cylinder((0, 0, 0.02), elbow.tolist(), 0.008, metal, sides=8)
    b.cylinder(elbow.tolist(), end.tolist(), 0.008, metal, sides=8)
    b.blob(elbow.tolist(), (0.016, 0.016, 0.016), b.material("dark"), sides=8)
    aim = np.array([0, np.sin(0.5), -np.cos(0.5)]) * head * 1.8
    b.cylinder(end.tolist(), (end + aim).tolist(), head * 0.35, shade, head, sides=14)


def _arc_lamp(b: Builder, metal: int, shade: int, kind: str) -> None:
    height, reach = b.uniform(1.5, 1.9), b.uniform(0.5, 1.1)
    angle = np.linspace(0, b.uniform(0.7, 1.0) * np.pi, 11)
    path = [(0.0, 0.0, 0.03), *((0.0, reach * (1 - np.cos(a)) / 2, height * (0.7 + 0.3 * np.sin(a))) for a in angle)]
    b.lathe([(0, 0), (0.18, 0), (0.18, 0.04), (0, 0.05)], b.material("dark", "stone", "metal"))
    b.tube(path, 0.012, metal)
    _shade(b, (path[-1][0], path[-1][1], path[-1][2] - 0.17), 0.16, 0.18, shade)


def _wall_lamp(b: Builder, metal: int, shade: int, kind: str) -> None:
    plate = b.uniform(0.05, 0.08)
    b.span((-plate, -0.01, -plate), (plate, 0.01, plate * 1.5), metal)
    reach = b.uniform(0.08, 0.2)
    b.tube([(0, 0, 0), (0, reach * 0.5, -0.02), (0, reach, 0.0), (0, reach, 0.05)], 0.009, metal)
    _shade(b, (0, reach, 0.05), b.uniform(0.06, 0.1), b.uniform(0.08, 0.16), shade)


def _street_lamp(b: Builder, metal: int, shade: int, kind: str) -> None:
    height = b.uniform(2.2, 3.2)
    b.lathe([(0, 0), (0.14, 0), (0.12, 0.2), (0.05, 0.35), (0.035, height), (0, height)], metal, sides=12)
    arms = b.integer(1, 2)
    for k in range(arms):
        side = 1 if arms == 1 else 2 * k - 1
        b.tube([(0, 0, height * 0.97), (0, side * 0.2, height + 0.08), (0, side * 0.4, height)], 0.022, metal)
        b.lathe([(0.05, 0), (0.15, -0.06), (0.1, -0.25), (0.04, -0.28)], shade, (0, side * 0.4, height), sides=10)


def _spots(b: Builder, metal: int, shade: int, kind: str) -> None:
    count, length = b.integer(2, 4), b.uniform(0.5, 1.0)
    b.box((0, 0, 0), (length, 0.05, 0.03), metal)
    for x in np.linspace(-0.4, 0.4, count) * length:
        lean = b.uniform(0.3, 1.2)
        aim = np.array([0, np.sin(lean), -np.cos(lean)])
        b.cylinder((x, 0, 0), (x, 0, -0.06), 0.008, metal, sides=6)
        start = np.array([x, 0, -0.06])
        b.cylinder((start - aim * 0.03).tolist(), (start + aim * 0.1).tolist(), 0.025, shade, 0.05, sides=12)


def radiator(b: Builder) -> None:
    """Columns, a finned panel or a towel rail, with a valve at one side."""
    kind = b.pick(["columns", "columns", "panel", "rail"])
    body, side = b.material("white", "white", "white", "metal"), b.pick([-1, 1])
    width, height = b.uniform(0.5, 1.4), b.uniform(0.4, 0.8)
    if kind == "rail":
        width, height = b.uniform(0.4, 0.6), b.uniform(0.9, 1.7)
        for x in (-width / 2, width / 2):
            b.cylinder((x, 0, 0), (x, 0, height), 0.02, body)
        bow, gap = b.uniform(0.0, 0.08), b.integer(3, 6)
        for k, z in enumerate(np.linspace(0.06, height - 0.05, b.integer(12, 20))):
            if k % gap != gap - 1:
                b.tube(
                    [(-width / 2, 0, z), (-width / 4, bow * 0.8, z), (width / 4, bow * 0.8, z), (width / 2, 0, z)],
                    0.01,
                    body,
                    6,
                )
        if b.chance(0.5):
            z, low = b.uniform(0.5, 0.9) * height, b.uniform(0.2, 0.5)
            b.span((-width * 0.4, bow + 0.015, z - low), (width * 0.2, bow + 0.035, z), b.material("fabric"))
    elif kind == "panel":
        b.box((0, 0, height / 2), (width, b.uniform(0.05, 0.1), height), body)
        for x in np.linspace(-0.47, 0.47, b.integer(10, 24)) * width:
            b.box((x, 0.055, height / 2), (width * 0.012, 0.03, height * 0.86), body)
        b.box((0, 0, height), (width * 1.01, 0.12, 0.02), b.material("metal", "white"))
    else:
        _columns(b, width, height, body)
    valve = b.material("metal", "white", "brass")
    z = height * b.pick([0.08, 0.92])
    b.cylinder((side * width / 2, 0, z), (side * (width / 2 + 0.08), 0, z), 0.014, valve, sides=8)
    b.cylinder((side * (width / 2 + 0.08), -0.02, z), (side * (width / 2 + 0.08), 0.09, z), 0.028, valve, sides=10)


def _columns(b: Builder, width: float, height: float, body: int) -> None:
    count, deep = min(18, max(5, round(width / b.uniform(0.05, 0.08)))), b.uniform(0.06, 0.14)
    for x in np.linspace(-0.5, 0.5, count) * width:
        b.cushion((x - 0.35 * width / count, -deep / 2, 0.03), (x + 0.35 * width / count, deep / 2, height), body, 0.25)
    for z in (0.07, height - 0.06):
        b.cylinder((-width / 2, 0, z), (width / 2, 0, z), 0.022, body, sides=8)
    if b.chance(0.6):
        for x in (-0.4, 0.4):
            b.box((x * width, 0, 0.02), (0.03, deep * 0.9, 0.06), body)


def railing_column(b: Builder) -> None:
    """A railing with a gate-post on one side, or a column on a base."""
    metal = b.material("dark", "dark", "metal", "white")
    if b.chance(0.3):
        return _column(b)
    width, height, bar = b.uniform(0.9, 2.0), b.uniform(0.75, 1.1), b.uniform(0.008, 0.016)
    for z in (b.uniform(0.05, 0.15), height * 0.85, height):
        b.box((0, 0, z), (width, 3 * bar, 2 * bar), metal)
    count, curl = b.integer(6, 14), b.chance(0.5)
    for k, x in enumerate(np.linspace(-0.5, 0.5, count) * width):
        b.cylinder((x, 0, 0 if k in (0, count - 1) else 0.1), (x, 0, height), bar, metal, sides=6)
        if curl and 0 < k < count - 1 and k % 2:
            angle = np.linspace(0, 1.8 * np.pi, 10)
            size = 0.35 * width / count
            b.tube(
                [(x + size * np.cos(a), bar * 1.5, height * 0.55 + size * np.sin(a)) for a in angle],
                bar * 0.7,
                metal,
                6,
            )
    if b.chance(0.7):
        post = b.pick([-1, 1]) * (width / 2 + 0.03)
        b.box((post, 0, height * 0.55), (0.07, 0.07, height * 1.1), metal)
        b.blob((post, 0, height * 1.13), (0.05, 0.05, 0.05), b.material("brass", "dark"), sides=10)
    return None


def _column(b: Builder) -> None:
    stone = b.material("stone", "white", "wood")
    height, radius = b.uniform(2.0, 3.0), b.uniform(0.1, 0.18)
    b.box((0, 0, 0.06), (radius * 3, radius * 3, 0.12), stone)
    b.box((0, 0, height - 0.05), (radius * 3, radius * 3, 0.1), stone)
    profile = [(radius * 1.35, 0.12), (radius * 1.2, 0.2), (radius, 0.26), (radius * 0.85, height - 0.25)]
    b.lathe([*profile, (radius, height - 0.2), (radius * 1.3, height - 0.1)], stone, sides=16)


def plug_switch(b: Builder) -> None:
    """A wall plate with one to three sockets or rockers; pin patterns have an up side."""
    plate, inset = b.material("white", "white", "plastic", "dark"), b.material("white", "plastic", "metal")
    black, size, thick = b.material("dark"), 0.08, b.uniform(0.006, 0.014)
    count = b.pick([1, 1, 1, 2, 3])
    width = size * count
    if b.chance(0.5):
        b.cushion((-width / 2, -thick, -size / 2), (width / 2, thick, size / 2), plate, 0.15)
    else:
        b.box((0, 0, 0), (width, 2 * thick, size), plate)
        for side in (-1, 1):
            screw = (side * width * 0.44, thick, 0.0)
            b.cylinder(screw, (screw[0], thick + 0.002, 0), 0.003, inset, sides=8)
    for k in range(count):
        with b.placed(((k - (count - 1) / 2) * size, thick, 0)):
            b.pick([_socket, _socket, _rocker, _dimmer])(b, inset, black)


def _socket(b: Builder, inset: int, black: int) -> None:
    if b.chance(0.5):
        b.cylinder((0, -0.004, 0), (0, 0.004, 0), 0.026, inset, sides=20)
    else:
        b.box((0, 0, 0), (0.05, 0.008, 0.05), inset)
    pins = b.pick(
        [
            ((-0.009, 0), (0.009, 0)),
            ((-0.009, -0.006), (0.009, -0.006), (0, 0.012)),
            ((-0.012, -0.004), (0.012, -0.004), (0, 0.014)),
        ]
    )
    round_pins = b.chance(0.5)
    for x, z in pins:
        if round_pins:
            b.cylinder((x, 0, z), (x, 0.006, z), 0.0035, black, sides=8)
        else:
            b.box((x, 0.002, z), (0.004, 0.008, 0.01), black)
    if b.chance(0.5):
        b.box((0, 0.002, -0.022), (0.012, 0.01, 0.004), black)


def _rocker(b: Builder, inset: int, black: int) -> None:
    count = b.integer(1, 2)
    for k in range(count):
        with b.placed(((k - (count - 1) / 2) * 0.05 / count, 0, 0), pitch=b.pick([-1, 1]) * b.uniform(0.08, 0.2)):
            b.box((0, 0, 0), (0.046 / count, 0.012, 0.05), inset)
    b.box((0, 0.008, 0.018), (0.004, 0.003, 0.004), black)


def _dimmer(b: Builder, inset: int, black: int) -> None:
    b.cylinder((0, 0, 0), (0, 0.016, 0), 0.02, inset, 0.017, sides=18)
    angle = b.uniform(-1.5, 1.5)
    b.cylinder((0, 0.017, 0), (0.014 * np.sin(angle), 0.017, 0.014 * np.cos(angle)), 0.002, black, sides=6)
