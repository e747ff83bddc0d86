"""Pages from Jinja2 templates: all text is escaped unless marked as HTML, and missing values are errors."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

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


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _read(template: str) -> str | None:
    package, _, path = template.rpartition(":")
    file = files(package or HOME).joinpath(path)
    return file.read_text(encoding="utf-8") if file.is_file() else None
