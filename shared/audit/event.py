"""What an audit event is, and which values one may carry.

The log is shown to auditors and leaves for a hospital's log collector, so an event carries closed kinds of
values alone: names that this software gave, digests, counts, words of a closed set, and plain sentences.
No kind takes a path, a mail address, a name as DICOM writes it, or a dotted number such as a DICOM UID or a
network address. A sentence is the one kind with room for more: it must never come from a file or an image.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, TypeAlias, Union, get_args, get_origin, get_type_hints

from shared.errors import StoreError

Detail: TypeAlias = str | int | bool | list[str] | None
"""A value as the log holds it."""

WITHHELD = "withheld"
"""Stands for a reason that does not look like a plain sentence."""

_NO_DOTTED_NUMBER = r"(?!.*\d\.\d+\.\d+)"
_is_sentence = re.compile(_NO_DOTTED_NUMBER + r"\w[\w .,:;'()-]{0,299}").fullmatch


def _not_negative(value: int) -> bool:
    return value >= 0


Identifier = Annotated[str, re.compile(_NO_DOTTED_NUMBER + r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}").fullmatch]
"""A name or an id that this software checked or gave: of a site, a run, a model, a setting, a person."""

Word = Annotated[str, re.compile(r"[a-z][a-z_-]{0,31}").fullmatch]
"""A member of a closed set, such as a phase or a role."""

Digest = Annotated[str, re.compile(r"[0-9a-f]{64}").fullmatch]
"""A SHA-256, hex."""

Fingerprint = Annotated[str, re.compile(r"[0-9a-f]{4}( [0-9a-f]{4}){15}").fullmatch]
"""A SHA-256 in groups of four hex digits, as persons compare it."""

KeyId = Annotated[str, re.compile(r"[0-9a-f]{16}").fullmatch]
"""`VerifyKey.key_id`."""

Count = Annotated[int, _not_negative]
"""A number that is not negative."""

Reason = Annotated[str, _is_sentence]
"""A sentence of ours or of a person here, or the name of an error's class; else it becomes `WITHHELD`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. Subclasses have a stable name and the details that go with it.

    Attributes
    ----------
    subject
        Id of what it happened to.

    Raises
    ------
    StoreError
        A value is not of the declared kind. A reason is withheld instead: what happened must be written down
        whatever the words for it.
    """

    name: ClassVar[str]
    subject: Identifier

    def __post_init__(self) -> None:
        for field, kind in _kinds(type(self)).items():
            value = getattr(self, field)
            if field == "reason" and isinstance(value, str) and not _is_sentence(value):
                object.__setattr__(self, field, WITHHELD)
            elif not _fits(value, kind):
                raise StoreError(
                    f"An event cannot be written down: its '{field}' is not of the declared kind.",
                    "Report this to the makers of mammofed, with the version.",
                )

    def details(self) -> Mapping[str, Detail]:
        """Everything but the subject, as the log holds it."""
        names = (field.name for field in fields(self) if field.name != "subject")
        return {name: _plain(getattr(self, name)) for name in names}


def _kinds(event: type[Event]) -> Mapping[str, Any]:
    hints = get_type_hints(event, include_extras=True)
    return {field.name: hints[field.name] for field in fields(event)}


def _fits(value: object, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        base: type = arguments[0]
        fits: Callable[[Any], object] = arguments[1]
        right_type = isinstance(value, base) and not (isinstance(value, bool) and base is int)
        return right_type and bool(fits(value))
    if origin in {Union, types.UnionType}:
        return any(_fits(value, each) for each in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(each, arguments[0]) for each in value)
    return isinstance(value, kind)


def _plain(value: tuple[object, ...] | str | int | bool | None) -> Detail:
    """Members of enumerations become plain words, tuples become lists."""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    if isinstance(value, str):
        return str(value)
    return value
