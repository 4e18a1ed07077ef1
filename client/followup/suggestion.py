"""Which image could come next: a table of rules, each with its reason and its evidence; pure.

The first rule that applies is told, with its reason: a radiologist decides. Without a category that is
calibrated on readers' nothing is suggested at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from client.clinic.exam import ExamDensity
from client.followup.bcsc import MAX_AGE, MIN_AGE, RiskFactors, five_year_risk_percent
from client.followup.clinical import ClinicalInputs
from client.followup.polygenic import polygenic_ratio
from client.followup.settings import FollowUpSettings
from shared.bands import BANDS, Band

BORDERLINE = (0.35, 0.65)
"""Probability of category d between which it is neither d nor not."""
HIGH_LIFETIME_RISK_PERCENT = 20.0
SCREENED_AGES = range(50, 71)
TABLE_OF = "2026-12-01"
"""When the evidence was last looked through, ISO 8601."""
UNKNOWN = ClinicalInputs()
LABEL = "Suggestion after density, a radiologist decides"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a suggestion rests on.

    Attributes
    ----------
    probabilities
        Of each of `BANDS`.
    age
        In years; None is unknown.
    five_year_risk_percent
        By the BCSC model; None where the age does not allow it.
    lifetime_risk_percent
        Computed elsewhere; None is unknown.
    """

    category: Band
    probabilities: tuple[float, ...]
    is_borderline: bool
    age: int | None
    five_year_risk_percent: float | None
    lifetime_risk_percent: float | None

    @property
    def is_dense(self) -> bool:
        """Category c or d."""
        return self.category in {"c", "d"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """One suggestion, never without its reason.

    Attributes
    ----------
    code
        Stable, at most 16 characters.
    words
        At most 64 characters.
    as_of
        `TABLE_OF`.
    basis
        What it rests on beside the images.
    """

    code: str
    words: str
    reason: str
    evidence: str
    basis: str
    as_of: str
    five_year_risk_percent: float | None

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        risk = self.five_year_risk_percent
        return {
            "label": LABEL,
            "code": self.code,
            "suggestion": self.words,
            "reason": self.reason,
            "evidence": self.evidence,
            "as_of": self.as_of,
            "basis": self.basis,
            "five_year_risk_percent": None if risk is None else round(risk, 2),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A line of the table; of `Suggestion`, with when it applies."""

    applies: Callable[[Facts, FollowUpSettings], bool]
    code: str
    words: str
    reason: str
    evidence: str


def _is_borderline(facts: Facts, _: FollowUpSettings) -> bool:
    low, high = BORDERLINE
    return facts.is_borderline or low <= facts.probabilities[BANDS.index("d")] <= high


def _is_at_high_lifetime_risk(facts: Facts, settings: FollowUpSettings) -> bool:
    risk = facts.lifetime_risk_percent
    return settings.mri and risk is not None and risk >= HIGH_LIFETIME_RISK_PERCENT


def _is_extremely_dense(facts: Facts, settings: FollowUpSettings) -> bool:
    return settings.mri and facts.category == "d" and facts.age in SCREENED_AGES


def _is_dense_without_mri(facts: Facts, settings: FollowUpSettings) -> bool:
    return settings.contrast_mammography and not settings.mri and facts.is_dense


def _is_dense_at_risk(facts: Facts, settings: FollowUpSettings) -> bool:
    risk = facts.five_year_risk_percent
    return settings.ultrasound and facts.is_dense and risk is not None and risk >= settings.min_risk_percent


RULES: tuple[Rule, ...] = (
    Rule(
        applies=_is_at_high_lifetime_risk,
        code="MRI-YEARLY",
        words="MRI every year",
        reason="A lifetime risk of 20 % or more, as it was entered by the hospital.",
        evidence="Guidelines of the American Cancer Society and EUSOMA for women at high risk.",
    ),
    Rule(
        applies=_is_borderline,
        code="SECOND-READ",
        words="Borderline: second read of the density",
        reason="The category is not certain enough to suggest anything by it.",
        evidence="The model's own probabilities, calibrated on readers' categories.",
    ),
    Rule(
        applies=_is_extremely_dense,
        code="MRI",
        words="Offer MRI every two to four years",
        reason="Extremely dense breasts at 50 to 70 years of age.",
        evidence="EUSOBI 2022 (doi 10.1007/s00330-022-08617-6); DENSE trial: 16.5 cancers in 1,000 women "
        "in its first round, 5.8 in its second, false positives 79.8 and 26.3 in 1,000.",
    ),
    Rule(
        applies=_is_dense_without_mri,
        code="CEM",
        words="Contrast-enhanced mammography, or abbreviated MRI elsewhere",
        reason="Dense breasts, and no MRI here.",
        evidence="BRAID trial (Lancet 2025;405:1935): 19.2 cancers in 1,000 women by contrast mammography, "
        "17.4 by abbreviated MRI, 4.2 by ultrasound; 24 reactions to contrast in its arm.",
    ),
    Rule(
        applies=_is_dense_at_risk,
        code="ULTRASOUND",
        words="Ultrasound",
        reason="Dense breasts, and a five-year risk at or above the site's limit.",
        evidence="PMC6008336: 3.8 cancers more in 1,000 women (3.4 to 4.2); SomoInsight: 1.9 more, with 285 "
        "more recalls in 1,000.",
    ),
    Rule(
        applies=lambda facts, _: facts.is_dense,
        code="ROUTINE",
        words="Routine interval",
        reason="Dense breasts, and nothing beyond the table's limits that this hospital has an answer to.",
        evidence="No evidence for more in this table.",
    ),
    Rule(
        applies=lambda facts, _: not facts.is_dense,
        code="ROUTINE",
        words="Routine interval",
        reason="The breasts are not dense.",
        evidence="Supplemental screening was studied in dense breasts.",
    ),
)


def suggest(
    exam: ExamDensity,
    settings: FollowUpSettings | None,
    *,
    age: int | None,
    inputs: ClinicalInputs = UNKNOWN,
) -> Suggestion | None:
    """What the table suggests; None without settings, a measured breast or a calibrated category.

    Parameters
    ----------
    age
        By the images' header, in years.
    inputs
        What the hospital knows beside them.
    """
    denser = exam.denser
    if settings is None or exam.calibration is None or denser is None or denser.likely_band is None:
        return None
    age = inputs.age if age is None else age
    risk = None
    if age is not None and MIN_AGE <= age <= MAX_AGE:
        risk = five_year_risk_percent(
            RiskFactors(
                age=age,
                category=denser.band,
                family_history=inputs.family_history,
                biopsy=None if inputs.biopsies is None else inputs.biopsies > 0,
            ),
            baseline=settings.baseline,
            recalibration=settings.recalibration,
        )
        if settings.polygenic and inputs.polygenic_z is not None:
            risk = min(100.0, risk * polygenic_ratio(inputs.polygenic_z))
    facts = Facts(
        category=denser.band,
        probabilities=denser.likely_band.probabilities,
        is_borderline=denser.likely_band.is_borderline,
        age=age,
        five_year_risk_percent=risk,
        lifetime_risk_percent=inputs.lifetime_risk_percent,
    )
    rule = next(rule for rule in RULES if rule.applies(facts, settings))
    return Suggestion(
        code=rule.code,
        words=rule.words,
        reason=rule.reason,
        evidence=rule.evidence,
        as_of=TABLE_OF,
        basis=_basis(age, inputs, settings),
        five_year_risk_percent=risk,
    )


def _basis(age: int | None, inputs: ClinicalInputs, settings: FollowUpSettings) -> str:
    """What was known beside the images, in words."""
    told = ["age unknown" if age is None else f"age {age}"]
    told += [inputs.words] if inputs.words else ["nothing else"]
    if settings.polygenic and inputs.polygenic_z is not None:
        told.append(f"polygenic score {inputs.polygenic_z:+.1f} (experimental, made for European ancestry)")
    return ", ".join(told)
