"""Blocks of a page as data; `blocks.html` turns them into HTML."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from markupsafe import Markup
from PIL import Image


class Named(Protocol):
    """An entry of a legend."""

    @property
    def name(self) -> str: ...

    @property
    def colour(self) -> str: ...


@dataclass(frozen=True)
class Tile:
    """Large number with a heading, and a comparison in words."""

    heading: str
    value: str
    text: str


@dataclass(frozen=True)
class Card:
    """A chart under its title, with a legend of its own where the page's does not fit."""

    title: str
    chart: Markup
    legend: Sequence[Named] = ()


@dataclass(frozen=True)
class Picture:
    """An image inside the page (a data URI), its caption, a text in place of it, and a run's CSS colour."""

    uri: str
    caption: str
    alt: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Detail:
    """A text that opens under its summary."""

    summary: str
    text: str


def cards(*found: Card) -> list[Card]:
    """Keep the cards that have a chart."""
    return [card for card in found if card.chart]


def data_uri(image: Image.Image) -> str:
    """Encode a PNG as an address that needs no file beside the page."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
