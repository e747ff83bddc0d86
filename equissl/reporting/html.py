"""Pages from Jinja2 templates: all text is escaped unless marked as HTML, and missing values are errors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

HOME = "equissl.reporting"


def render_page(template: str, **context: Any) -> str:
    """Render a template.

    Args:
        template: ``PATH``, of a file beside this module, or ``PACKAGE:PATH``, of a file in any installed package. A
            template of another package begins with ``{% extends "page.html" %}`` to be a page like the others.
        context: what the template shows.

    Raises:
        jinja2.TemplateNotFound: no such file in that package.
        jinja2.UndefinedError: the template shows what the context lacks.
    """
    return _environment().get_template(template).render(context)


def join_pages(pages: Sequence[str], titles: Sequence[str], left_out: Sequence[str] = ()) -> str:
    """Join pages to one that has the head of the first, with links to its parts.

    Args:
        pages: each with one ``<main>``, as `page.html` has it.
        titles: of the parts; not shown of one alone.
        left_out: what the page does not show, a line each.

    Raises:
        ValueError: a page without ``<main>``.
    """
    cut = [_cut(page) for page in pages]
    parts = [(title, Markup(content)) for title, (_, content, _) in zip(titles, cut, strict=True)]
    content = render_page("parts.html", parts=parts, left_out=left_out)
    return f"{cut[0][0]}{content}{cut[0][2]}"


def _cut(page: str) -> tuple[str, str, str]:
    """Return what stands before, in and after the only ``<main>`` of a page."""
    head, start, rest = page.partition("<main>")
    content, end, foot = rest.rpartition("</main>")
    if not (start and end):
        raise ValueError("expected a page with one <main>, got one without; templates extend page.html")
    return head + start, content, end + foot


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _read(template: str) -> str | None:
    package, _, path = template.rpartition(":")
    file = files(package or HOME).joinpath(path)
    return file.read_text(encoding="utf-8") if file.is_file() else None
