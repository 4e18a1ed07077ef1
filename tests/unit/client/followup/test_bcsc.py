"""The BCSC model of 2008 against published constants worked out by an independent program."""

from __future__ import annotations

import pytest

from client.followup.bcsc import Baseline, RiskFactors, five_year_risk_percent
from shared.bands import BANDS
from shared.errors import ConfigError


@pytest.mark.parametrize(
    ("age", "risks_percent"),
    [
        (40, (0.199, 0.413, 0.640, 0.831)),
        (50, (0.454, 0.943, 1.463, 1.898)),
        (60, (0.754, 1.567, 2.429, 3.152)),
        (70, (1.369, 2.084, 2.893, 3.021)),
    ],
)
def test_risks_of_each_category_are_those_of_the_test_vectors(
    age: int, risks_percent: tuple[float, ...]
) -> None:
    computed = [five_year_risk_percent(RiskFactors(age=age, category=band)) for band in BANDS]

    assert computed == pytest.approx(risks_percent, abs=0.0005)


def test_family_history_and_a_biopsy_multiply_the_risk() -> None:
    factors = RiskFactors(age=50, category="d", family_history=True, biopsy=True)

    assert five_year_risk_percent(factors) == pytest.approx(4.126, abs=0.0005)


def test_the_papers_risks_at_50_of_all_populations_mixed_are_near() -> None:
    # Table 5 of the paper: .5, 1.0, 1.6 and 2.1 % over all its women.
    published = (0.5, 1.0, 1.6, 2.1)
    for band, risk in zip(BANDS, published, strict=True):
        of_white = five_year_risk_percent(RiskFactors(age=50, category=band))
        assert 0.85 < of_white / risk < 1.0


def test_a_sites_own_incidence_scales_the_risk_and_populations_differ() -> None:
    factors = RiskFactors(age=60, category="c")
    risk = five_year_risk_percent(factors)

    assert five_year_risk_percent(factors, recalibration=0.5) == pytest.approx(risk / 2)
    assert len({five_year_risk_percent(factors, baseline=each) for each in Baseline}) == len(Baseline)


def test_what_is_unknown_lies_between_yes_and_no() -> None:
    risks = [
        five_year_risk_percent(RiskFactors(age=60, category="b", family_history=answer))
        for answer in (False, None, True)
    ]

    assert risks == sorted(risks)
    assert len(set(risks)) == 3


@pytest.mark.parametrize("age", [34, 80])
def test_an_age_that_the_model_was_not_made_for_is_refused(age: int) -> None:
    with pytest.raises(ConfigError, match="35 to 79"):
        RiskFactors(age=age, category="b")
