"""Pages from templates, and the files that they fetch."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

import shared.pages
from server.stages import Stage, stage_of
from server.summary import SitePart, duration, size
from shared.evaluation.measures import figure_text
from shared.persons.roles import Action, may

STATIC = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "charts.js": "text/javascript",
    "form.js": "text/javascript",
    "uPlot.css": "text/css",
    "uPlot.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
DAY_S = 86_400.0
_OWN_PATH = re.compile(r"/(?:[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*)?", re.ASCII)
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """A file that pages fetch; `digest` is in the address, so that a new version is fetched anew."""

    content: bytes
    kind: str
    digest: str


def _load(name: str, kind: str) -> StaticFile:
    content = files(__package__).joinpath("static", name).read_bytes()
    if name == "console.css":
        content = files(shared.pages).joinpath("page.css").read_bytes() + content
    return StaticFile(content=content, kind=kind, digest=hashlib.sha256(content).hexdigest()[:16])


def days_left(at: float, now: float) -> str:
    """How long something that ends at a moment is still good."""
    return f"{math.floor((at - now) / DAY_S)} more days" if at > now else "has ended"


_static: Mapping[str, StaticFile] = {name: _load(name, kind) for name, kind in STATIC.items()}
_templates = Environment(
    loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_templates.filters |= {
    "as_datetime": datetime.fromisoformat,
    "moment": lambda at: f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M %Z}",
    "second": lambda at: f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S}",
    "day": lambda at: f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d}",
    "number": lambda value, decimals=3: "" if value is None else f"{value:.{decimals}f}",
    "size": size,
    "figure": lambda figure, name: figure_text(name, figure),
    "seconds": lambda value: "" if value is None else duration(value),
    "days_left": days_left,
    "count_told": lambda count: "too few to tell" if count is None else f"{count:,}",
}


def _stage(part: SitePart, in_touch: Collection[str], is_open: bool) -> Stage | None:
    return stage_of(part.state, part.steps, is_in_touch=part.site in in_touch, is_open=is_open)


_templates.globals["stage_of"] = _stage


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page for whoever is signed in; its template also knows who that is and what they may do."""
    return HTMLResponse(
        fragment(
            template,
            federation=request.app.state.federation,
            path=request.url.path,
            **viewer(request),
            **values,
        ),
        status_code=status,
    )


def viewer(request: Request) -> dict[str, Any]:
    """What templates know of whoever is signed in."""
    actor = request.state.actor
    return {
        "person": actor.name.partition(":")[2] if actor else None,
        "role": actor.role.value if actor else None,
        "may": lambda action: actor is not None and may(actor.role, Action(action)),
    }


def fragment(template: str, **values: Any) -> str:
    """A template as text; everything in it is escaped."""
    return _templates.get_template(template).render(static=_address, **values)


def error_page(status: int, message: str, hint: str) -> Response:
    """A page that says what is wrong and what to do, with nothing of the federation."""
    return HTMLResponse(fragment("error.html.j2", message=message, hint=hint), status_code=status)


def own_path(text: str) -> str:
    """A path of this console, to go to after the sign-in; whatever else was asked for becomes `/`."""
    return text if _OWN_PATH.fullmatch(text) else "/"


def static_file(request: Request) -> Response:
    """One of the files of `STATIC`; a name is looked up among them, and never joined to a path."""
    found = _static.get(request.path_params["name"])
    if found is None:
        return error_page(404, "There is no such file.", "Open the page anew.")
    return Response(found.content, media_type=found.kind, headers={"cache-control": FOREVER})


def _address(name: str) -> str:
    return f"/static/{name}?v={_static[name].digest}"
