"""How log files look: one line an event, and of an unforeseen error what failed where, without any content.

A traceback as Python writes it names the folders of this machine, and an error's text may hold what was being
read. Neither may stand in a log that a hospital hands on.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TypeAlias

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

_Raised: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class BriefFormatter(logging.Formatter):
    """Tells errors by type, module, line and function."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - named by logging
        """The places that an error and its causes came through, outermost first."""
        return "\n".join(_lines(ei[1]))


def _lines(error: BaseException | None) -> Iterator[str]:
    yield "Traceback of modules and lines:"
    told: set[int] = set()
    while error is not None and id(error) not in told:
        told.add(id(error))
        yield f"  {type(error).__module__}.{type(error).__qualname__}"
        for frame, line in traceback.walk_tb(error.__traceback__):
            yield f"    {frame.f_globals.get('__name__', 'unknown')}:{line} {frame.f_code.co_name}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
