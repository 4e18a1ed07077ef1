"""Models beside sites."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.comparison import compare
from shared.errors import ConfigError
from shared.evaluation.records import Evaluation
from shared.records import Contribution, Phase
from tests.unit.server.simulated_federation import (
    EVALUATION,
    RUN_ID,
    Asked,
    Deed,
    SimulatedFederation,
    SimulatedSite,
    honest,
)

Make = Callable[..., SimulatedFederation]


def telling(evaluation: Evaluation | None) -> Deed:
    """Take part, and tell this of the final model."""

    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.phase is not Phase.EVALUATE:
            return honest(site, asked)
        contribution: Contribution = site.contribution(asked, None)
        return site.signed(contribution.model_copy(update={"evaluation": evaluation}))

    return deed


def with_dense_dice(mean: float) -> Evaluation:
    assert EVALUATION.dice is not None
    assert EVALUATION.dice.dense is not None
    dense = EVALUATION.dice.dense.model_copy(update={"mean": mean})
    return EVALUATION.model_copy(update={"dice": EVALUATION.dice.model_copy(update={"dense": dense})})


@pytest.fixture
def compared(found_federation: Make) -> SimulatedFederation:
    federation = found_federation(1)
    federation["aarhus"].does(telling(with_dense_dice(0.8)))
    federation["bergen"].does(telling(with_dense_dice(0.6)))
    federation["cork"].does(telling(None))
    federation.run()
    return federation


def test_a_model_is_shown_at_each_site_that_tells_and_the_worst_is_marked(
    compared: SimulatedFederation,
) -> None:
    found = compare(compared.coordinator, "dice_dense")

    (model,) = found.models
    assert (model.model_id, model.run_id) == ("simulated-1", RUN_ID)
    assert found.sites == ["aarhus", "bergen"]
    assert {site: figure.value for site, figure in model.sites.items()} == {"aarhus": 0.8, "bergen": 0.6}
    assert model.worst == "bergen"
    assert model.all_sites is not None
    assert model.all_sites.value == pytest.approx(0.7)
    assert model.all_sites.num_images == 16


def test_the_worst_is_known_of_measures_of_which_less_is_better(compared: SimulatedFederation) -> None:
    (model,) = compare(compared.coordinator, "percent_density_error").models

    assert model.worst == "aarhus"  # both err by four points; the first by name


def test_a_measure_that_nobody_tells_has_no_worst_site(compared: SimulatedFederation) -> None:
    found = compare(compared.coordinator, "dice_pectoral")

    (model,) = found.models
    assert (found.sites, model.sites, model.all_sites, model.worst) == ([], {}, None, None)


def test_without_a_model_there_is_nothing_to_compare(found_federation: Make) -> None:
    assert compare(found_federation(1).coordinator, "dice_dense").models == []


def test_a_measure_that_does_not_exist_is_answered_by_those_that_do(compared: SimulatedFederation) -> None:
    with pytest.raises(ConfigError) as caught:
        compare(compared.coordinator, "accuracy")

    assert "accuracy" in caught.value.message
    assert "dice_dense, dice_breast" in caught.value.hint
