"""An answer that the channel hands over twice is taken once."""

from __future__ import annotations

from collections.abc import Callable

from server.lifecycle import AnswerState, RunState
from tests.unit.server.simulated_federation import RUN_ID, SimulatedFederation

Make = Callable[..., SimulatedFederation]


def test_an_answer_that_comes_twice_counts_once(found_federation: Make) -> None:
    undisturbed, repeating = found_federation(2), found_federation(2)
    undisturbed.run()
    repeating.channel.repeats = True

    repeating.run()

    assert repeating.state is RunState.FINISHED
    assert repeating.checkpoint == undisturbed.checkpoint
    answers = repeating.coordinator.runs.answers(RUN_ID)
    assert {answer.state for answer in answers} == {AnswerState.ADMITTED}
    told = [line.name for line in repeating.coordinator.audit.lines(subject=RUN_ID)]
    assert told.count("answer.admitted") == len(answers)
