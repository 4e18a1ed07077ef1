"""The one part of a multipart answer (RFC 2387), passed on as it comes: it may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

MAX_HEAD_BYTES = 1 << 16


class NotMultipartError(Exception):
    """The answer is cut off, or is not one part in a multipart frame."""


def pass_on_part(chunks: Iterable[bytes], boundary: str, write: Callable[[bytes], object]) -> None:
    """Find the part in the chunks of a body and write its content.

    Parameters
    ----------
    boundary
        As the header of the answer names it.

    Raises
    ------
    NotMultipartError
        The body ends before the closing boundary, or is something else. What was written is of no use.
    """
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    source = iter(chunks)
    # A line break in front, since the first boundary may begin the body.
    held = _read_past(source, b"\r\n", delimiter)
    held = _read_past(source, held, b"\r\n\r\n")
    while (end := held.find(delimiter)) < 0:
        keep = len(delimiter) - 1
        write(held[:-keep])
        held = held[-keep:] + _next(source)
    write(held[:end])
    held = held[end + len(delimiter) :]
    while len(held) < 2:
        held += _next(source)
    if not held.startswith(b"--"):
        raise NotMultipartError("more than one part")


def _read_past(source: Iterable[bytes], held: bytes, mark: bytes) -> bytes:
    """What follows a mark, which must come soon."""
    source = iter(source)
    while (start := held.find(mark)) < 0:
        if len(held) > MAX_HEAD_BYTES:
            raise NotMultipartError("no part begins")
        held += _next(source)
    return held[start + len(mark) :]


def _next(source: Iterable[bytes]) -> bytes:
    for chunk in source:
        return chunk
    raise NotMultipartError("the body ends early")
