"""Pages for persons: one self-contained HTML file each, which fetches nothing and runs nothing.

A page's own style is admitted by digest, pictures by being part of the page; everything else is forbidden by
its Content Security Policy. Text is escaped by the template's engine.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from shared.errors import StoreError
from shared.files import write_file

_CODE = re.compile(r"`([^`]*)`")


def render(package: str, template: str, style: str, **values: Any) -> str:
    """A page as HTML; the same arguments give the same text.

    Parameters
    ----------
    package
        Where the template and its style are shipped; the style comes after the one that all pages have.
    values
        What the template names, beside `style` and `style_digest`.
    """
    environment = Environment(
        loader=FunctionLoader(lambda name: files(package).joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.filters["code"] = _with_code
    whole = files(__name__).joinpath("page.css").read_text("utf-8")
    whole += files(package).joinpath(style).read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(whole.encode()).digest()).decode("ascii")
    return environment.get_template(template).render(style=whole, style_digest=f"sha256-{digest}", **values)


def _with_code(text: str) -> Markup:
    """Escaped, and what stands between backquotes as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def write_page(page: str, file: Path) -> None:
    """Write a page that only its owner may read.

    Raises
    ------
    StoreError
        The file exists already, or the disk refuses.
    """
    if file.exists():
        raise StoreError("The page's file exists already.", "Name another one.")
    write_file(file, page.encode())
