"""Log files tell what failed where, without folders of this machine and without contents."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from shared.logs import BriefFormatter


def formatted(error: OSError | RuntimeError) -> str:
    try:
        raise error
    except (OSError, RuntimeError):
        record = logging.LogRecord("app", logging.ERROR, __file__, 1, "it failed", None, sys.exc_info())
    return BriefFormatter().format(record)


def test_an_unforeseen_error_is_told_by_type_and_module_without_a_path_or_its_text() -> None:
    text = formatted(FileNotFoundError(2, "missing", "/data/JANSEN^ANNA.dcm"))

    assert "Traceback" in text
    assert "builtins.FileNotFoundError" in text
    assert f"{__name__}:" in text
    assert "JANSEN" not in text
    assert str(Path(__file__).parent) not in text
    assert "/" not in text


def test_the_cause_of_an_error_is_told_too() -> None:
    error = RuntimeError("outer")
    error.__cause__ = KeyError("JANSEN^ANNA")

    text = formatted(error)

    assert text.index("builtins.RuntimeError") < text.index("builtins.KeyError")
    assert "JANSEN" not in text


def test_an_error_that_is_its_own_cause_ends() -> None:
    error = RuntimeError("outer")
    error.__context__ = KeyError("inner")
    error.__context__.__context__ = error

    assert formatted(error).count("builtins.RuntimeError") == 1
