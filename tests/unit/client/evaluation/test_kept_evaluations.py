"""What a site keeps of its evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from client.store.evaluations import Evaluations
from client.store.opening import open_site_store
from client.store.parts import Part
from shared.evaluation.records import Evaluation, Moments
from shared.records import Occasion, Phase

IMAGES = frozenset({"a 1", "b 2"})


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Evaluations]:
    engine: Engine = open_site_store(tmp_path / "home")
    yield Evaluations(engine)
    engine.dispose()


def occasion(round_number: int, phase: Phase = Phase.TRAIN) -> Occasion:
    return Occasion(
        run_id="run-1",
        plan_sha256="a" * 64,
        round_number=round_number,
        attempt=1,
        phase=phase,
        site_id="site-1",
        base_digest="b" * 64,
    )


def made(loss: float) -> Evaluation:
    return Evaluation(num_examples=2, loss=Moments(num_images=2, mean=loss, variance=0.0))


def test_evaluations_come_back_by_round_and_the_final_one_last(kept: Evaluations) -> None:
    kept.keep(occasion(2, Phase.EVALUATE), Part.TEST, IMAGES, made(0.1), at=30.0)
    kept.keep(occasion(2), Part.VALIDATION, None, made(0.2), at=20.0)
    kept.keep(occasion(1), Part.VALIDATION, IMAGES, made(0.3), at=10.0)

    found = kept.of_run("run-1")

    assert [(each.round_number, each.phase, each.may_be_told) for each in found] == [
        (1, Phase.TRAIN, True),
        (2, Phase.TRAIN, False),
        (2, Phase.EVALUATE, True),
    ]
    assert [each.evaluation for each in found] == [made(0.3), made(0.2), made(0.1)]
    assert kept.of_run("run-2") == []


def test_a_later_evaluation_of_a_round_takes_the_place_of_the_earlier_one(kept: Evaluations) -> None:
    kept.keep(occasion(1), Part.VALIDATION, IMAGES, made(0.3), at=10.0)
    kept.keep(occasion(1), Part.VALIDATION, IMAGES, made(0.4), at=11.0)

    (only,) = kept.of_run("run-1")
    assert (only.at, only.evaluation) == (11.0, made(0.4))


def test_a_set_of_images_is_known_once_and_by_its_part(kept: Evaluations) -> None:
    more = IMAGES | {"c 3"}
    for round_number, images in ((1, IMAGES), (2, more), (3, IMAGES)):
        kept.keep(occasion(round_number), Part.VALIDATION, images, made(0.3), at=10.0)
    kept.keep(occasion(4), Part.VALIDATION, None, made(0.3), at=10.0)

    assert kept.told(Part.VALIDATION) == [IMAGES, more]
    assert kept.told(Part.TEST) == []


def test_what_was_told_over_which_images_is_still_known_when_the_site_starts_again(
    kept: Evaluations, tmp_path: Path
) -> None:
    kept.keep(occasion(1), Part.TEST, IMAGES, made(0.3), at=10.0)

    again = Evaluations(open_site_store(tmp_path / "home"))

    assert again.told(Part.TEST) == [IMAGES]
