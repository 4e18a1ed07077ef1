"""The chain, attacked by somebody who can write the log; and what only a checkpoint finds."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit.chain import GENESIS, AuditLine, Break, Flaw, Verified, canonical_json, verify_chain
from shared.audit.checkpoints import verify_against
from tests.unit.shared.audit.histories import NOW_MS, history, rechained, standing


def test_an_untouched_history_is_verified_to_its_last_line() -> None:
    lines = history()

    assert verify_chain(lines) == Verified(sequence=5, head=lines[4].hash)
    assert verify_chain([]) == Verified(sequence=0, head=GENESIS)


def test_the_hash_is_the_sha256_of_a_text_that_any_language_can_write() -> None:
    first = history()[0]
    text = (
        '{"actor":"person:ada","at_ms":1700000000124,"details":{"plan_sha256":"' + "a" * 64 + '"},'
        '"event":"run.submitted","previous":"' + "0" * 64 + '","sequence":1,"subject":"run-1"}'
    )

    assert first.hash == hashlib.sha256(text.encode()).hexdigest()


def test_canonical_json_leaves_letters_as_they_are() -> None:
    assert canonical_json({"b": "Åse\n", "a": None}) == '{"a":null,"b":"Åse\\n"}'.encode()


CHANGES = {
    "at_ms": NOW_MS,
    "actor": "person:eve",
    "name": "run.failed",
    "subject": "run-2",
    "details": {"plan_sha256": "c" * 64},
    "previous": "d" * 64,
    "hash": "e" * 64,
    "sequence": 9,
}


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("field", CHANGES)
def test_an_altered_line_is_found_at_its_number(field: str, number: int) -> None:
    lines = history()
    lines[number - 1] = replace(lines[number - 1], **{field: CHANGES[field]})

    outcome = verify_chain(lines)

    assert isinstance(outcome, Break)
    assert outcome.at == number


@pytest.mark.parametrize(("removed", "at"), [(1, 1), (3, 3), (4, 4)])
def test_a_removed_line_is_found(removed: int, at: int) -> None:
    lines = history()
    del lines[removed - 1]

    assert verify_chain(lines) == Break(at=at, flaw=Flaw.ORDER, confirmed=0)


def test_a_removed_line_is_found_though_the_numbers_were_closed_up() -> None:
    lines = history()
    del lines[2]
    closed_up = [replace(line, sequence=number) for number, line in enumerate(lines, start=1)]

    assert verify_chain(closed_up) == Break(at=3, flaw=Flaw.LINK, confirmed=0)


def test_reordered_lines_are_found() -> None:
    lines = history()
    lines[1], lines[2] = lines[2], lines[1]

    assert verify_chain(lines) == Break(at=2, flaw=Flaw.ORDER, confirmed=0)


def test_an_altered_line_with_a_hash_of_its_own_is_found_at_the_next_line() -> None:
    lines = history()
    altered = replace(lines[1], actor="person:eve")
    lines[1] = replace(altered, hash=altered.computed_hash())

    assert verify_chain(lines) == Break(at=3, flaw=Flaw.LINK, confirmed=0)


def test_a_removed_tail_is_found_through_a_checkpoint_and_only_so() -> None:
    lines = history()
    cut = lines[:3]

    assert isinstance(verify_chain(cut), Verified)
    assert verify_against(cut, [standing(lines, 2), standing(lines, 5)]) == Break(
        at=4, flaw=Flaw.CUT, confirmed=2
    )


def test_a_history_that_was_emptied_is_found() -> None:
    assert verify_against([], [standing(history(), 1)]) == Break(at=1, flaw=Flaw.CUT, confirmed=0)


def test_a_rechained_history_is_found_through_a_checkpoint_and_only_so() -> None:
    lines = history()
    forged = rechained([*lines[:2], replace(lines[2], actor="person:eve"), *lines[3:]])

    assert isinstance(verify_chain(forged), Verified)
    checkpoints = [standing(lines, 0), standing(lines, 2), standing(lines, 4)]
    assert verify_against(forged, checkpoints) == Break(at=4, flaw=Flaw.REWRITTEN, confirmed=2)


def test_a_line_left_out_and_the_rest_rechained_is_found() -> None:
    lines = history()
    forged = rechained([lines[0], *lines[2:]])

    assert verify_against(forged, [standing(lines, 4)]) == Break(at=4, flaw=Flaw.REWRITTEN, confirmed=0)


def test_a_line_smuggled_in_and_the_rest_rechained_is_found() -> None:
    lines = history()
    forged = rechained([lines[0], lines[0], *lines[1:]])

    assert verify_against(forged, [standing(lines, 5)]) == Break(at=5, flaw=Flaw.REWRITTEN, confirmed=0)


def test_what_no_checkpoint_covers_yet_rests_on_the_chain_alone() -> None:
    lines = history()
    forged = rechained([*lines[:4], replace(lines[4], subject="model-2")])

    assert verify_against(forged, [standing(lines, 4)]) == Verified(
        sequence=5, head=forged[4].hash, num_checkpoints=1
    )


def test_two_checkpoints_that_disagree_about_one_line_leave_no_history_that_fits() -> None:
    lines = history()
    other = standing(rechained([replace(lines[0], actor="person:eve")]), 1)

    for told in (lines, rechained([replace(lines[0], actor="person:eve"), *lines[1:]])):
        assert verify_against(told, [standing(lines, 1), other]) == Break(
            at=1, flaw=Flaw.REWRITTEN, confirmed=0
        )


def test_an_untouched_history_passes_through_all_of_its_checkpoints() -> None:
    lines = history()
    checkpoints = [standing(lines, sequence) for sequence in range(6)]

    assert verify_against(iter(lines), checkpoints) == Verified(
        sequence=5, head=lines[4].hash, num_checkpoints=6
    )


@given(
    keep=st.lists(st.sampled_from(range(5)), max_size=5),
    actors=st.lists(st.sampled_from(["coordinator", "person:ada", "person:eve"]), min_size=5, max_size=5),
    shown=st.integers(min_value=1, max_value=5),
)
def test_however_a_history_is_rewritten_what_was_shown_of_it_stays(
    keep: list[int], actors: list[str], shown: int
) -> None:
    honest = history()
    told: list[AuditLine] = rechained(
        [replace(honest[index], actor=actor) for index, actor in zip(keep, actors, strict=False)]
    )

    outcome = verify_against(told, [standing(honest, shown)])

    assert isinstance(outcome, Verified) == (told[:shown] == honest[:shown])
