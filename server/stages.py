"""What a site does now, and how long each of its steps took."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.lifecycle import AnswerState


class Stage(StrEnum):
    """Of a site in the last round."""

    DOWNLOADING = "downloading"
    TRAINING = "training"
    UPLOADING = "uploading"
    WAITING = "waiting"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """When a site came how far with what it was asked for, in seconds since the Unix epoch; None if not yet.

    Attributes
    ----------
    fetched_at
        It had all of the round's weights; None also where it had them before.
    sending_at
        It began to send its update.
    """

    asked_at: float
    fetched_at: float | None
    sending_at: float | None
    answered_at: float | None

    @property
    def download_s(self) -> float | None:
        """From being asked to having the weights."""
        return _between(self.asked_at, self.fetched_at)

    @property
    def train_s(self) -> float | None:
        """From having the weights to the first byte of the update: training, and evaluation before it."""
        return _between(self.fetched_at, self.sending_at)

    @property
    def upload_s(self) -> float | None:
        """From the first byte of the update to the answer's admission."""
        return _between(self.sending_at, self.answered_at)


def stage_of(state: AnswerState, steps: Steps, *, is_in_touch: bool, is_open: bool) -> Stage | None:
    """What a site does in an attempt; None where it has no part in it any more."""
    if not is_open:
        return None
    if state is AnswerState.ADMITTED:
        return Stage.WAITING
    if state is not AnswerState.ASKED:
        return None
    if not is_in_touch:
        return Stage.OFFLINE
    if steps.sending_at is not None:
        return Stage.UPLOADING
    return Stage.DOWNLOADING if steps.fetched_at is None else Stage.TRAINING


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else max(0.0, end - start)
