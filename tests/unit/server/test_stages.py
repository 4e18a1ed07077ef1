"""What a site does in a round, from what is written down of it."""

from __future__ import annotations

import pytest

from server.lifecycle import AnswerState
from server.stages import Stage, Steps, stage_of

ASKED, ADMITTED = AnswerState.ASKED, AnswerState.ADMITTED


def steps(*times: float | None) -> Steps:
    asked_at, fetched_at, sending_at, answered_at = times
    assert asked_at is not None
    return Steps(asked_at=asked_at, fetched_at=fetched_at, sending_at=sending_at, answered_at=answered_at)


@pytest.mark.parametrize(
    ("state", "told", "is_in_touch", "stage"),
    [
        (ASKED, steps(1, None, None, None), True, Stage.DOWNLOADING),
        (ASKED, steps(1, 2, None, None), True, Stage.TRAINING),
        (ASKED, steps(1, 2, 3, None), True, Stage.UPLOADING),
        (ASKED, steps(1, None, 3, None), True, Stage.UPLOADING),
        (ASKED, steps(1, 2, 3, None), False, Stage.OFFLINE),
        (ADMITTED, steps(1, 2, 3, 4), True, Stage.WAITING),
        (ADMITTED, steps(1, 2, 3, 4), False, Stage.WAITING),
        (AnswerState.REFUSED, steps(1, 2, None, None), True, None),
        (AnswerState.LOST, steps(1, 2, None, None), False, None),
    ],
)
def test_the_stage_follows_from_the_last_step(
    state: AnswerState, told: Steps, is_in_touch: bool, stage: Stage | None
) -> None:
    assert stage_of(state, told, is_in_touch=is_in_touch, is_open=True) is stage


def test_in_a_closed_round_nobody_does_anything() -> None:
    told = steps(1, None, None, None)

    assert stage_of(ASKED, told, is_in_touch=True, is_open=False) is None


def test_each_step_takes_from_the_one_before_it_and_is_not_known_without_it() -> None:
    whole, half = steps(10, 12, 40, 43), steps(10, None, 40, None)

    assert (whole.download_s, whole.train_s, whole.upload_s) == (2, 28, 3)
    assert (half.download_s, half.train_s, half.upload_s) == (None, None, None)
