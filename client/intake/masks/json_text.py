"""Reading outsiders' JSON: bounded in size, checked against a model, no word of it in an error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, FiniteFloat, ValidationError

from client.intake.exclusions import Reason, refusal
from client.intake.masks.mask_file import malformed
from client.intake.recognition import open_regular
from shared.errors import MaskError

MAX_BYTES = 64 << 20
"""LabelMe may write the picture itself into its file."""
MAX_CONTAINERS = 1_000_000
MAX_VALUES = 8_000_000
"""Lists and objects, and values in them, in one file: a parsed one takes up to a hundred times its bytes."""
MAX_VERTICES = 100_000

Number = FiniteFloat
# Without failing fast every wrong item of a list would be remembered with its reason.
Points = Annotated[list[tuple[Number, Number]], Field(max_length=MAX_VERTICES), FailFast()]


class Written(BaseModel):
    """A part of a file: what is not named is passed over, and no value is converted to another type."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


AnyWritten = TypeVar("AnyWritten", bound=Written)


def read_bytes(path: Path, form: str) -> bytes:
    """The file's content.

    Raises
    ------
    IntakeError
        The file cannot be read.
    MaskError
        It is too large.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error
    if len(content) > MAX_BYTES:
        raise MaskError(
            f"A mask in the form {form} is larger than {MAX_BYTES >> 20} MiB.",
            "Export it without the picture inside, or in several files.",
        )
    return content


def parse(model: type[AnyWritten], content: bytes, form: str) -> AnyWritten:
    """The content as `model`; raises MaskError."""
    if content.count(b"[") + content.count(b"{") > MAX_CONTAINERS or content.count(b",") > MAX_VALUES:
        raise malformed(form)
    try:
        return model.model_validate_json(content)
    except ValidationError:
        # Its text quotes the file.
        raise malformed(form) from None
