"""Whether a site's data are enough for a plan, and how many masks are missing if not.

The rule: the training part holds at least one batch of examples with masks, since a smaller one would show
a step the same image twice; and the validation and the test part hold at least one each, since a model that
is measured on nothing, or on patients it was trained on, is not measured. Ten batches are recommended.

Under a plan with a head for density bands an example with a reader's category does for one with a mask.

The split is by patient, so an example of the validation or test part is never of a patient in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from client.catalog import Counts, Part
from shared.plan import Plan

RECOMMENDED_BATCHES = 10
PART_NAMES: Mapping[Part, str] = {
    Part.TRAIN: "training",
    Part.VALIDATION: "validation",
    Part.TEST: "test",
}
"""The parts as people call them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check of the data against a plan.

    Attributes
    ----------
    required
        Training makes no sense without it; otherwise it is a recommendation.
    missing_masks
        How many more examples with masks the check asks for; 0 if it has passed.
    finding
        What is here and what is needed, one line.
    remedy
        What to do, one line; empty if it has passed.
    """

    name: str
    required: bool
    missing_masks: int
    finding: str
    remedy: str

    @property
    def passed(self) -> bool:
        """Nothing is missing."""
        return self.missing_masks == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """All checks of the data against one plan, those of the training part first."""

    plan_name: str
    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether everything that is required is here."""
        return all(finding.passed for finding in self.findings if finding.required)


def assess(counts: Counts, plan: Plan) -> Readiness:
    """Judge a catalog's numbers against a plan."""
    batch = plan.training.batch_size

    def finding(name: str, part: Part, needed: int, *, required: bool = True) -> Finding:
        present = counts.usable(part, categorised=plan.model.has_band_head)
        return _finding(counts, name, part, present, needed, required=required)

    return Readiness(
        plan_name=plan.name,
        findings=(
            finding("training masks", Part.TRAIN, batch),
            finding("validation masks", Part.VALIDATION, 1),
            finding("test masks", Part.TEST, 1),
            finding("recommended training masks", Part.TRAIN, RECOMMENDED_BATCHES * batch, required=False),
        ),
    )


def _finding(counts: Counts, name: str, part: Part, present: int, needed: int, *, required: bool) -> Finding:
    missing = max(0, needed - present)
    verb = "needed" if required else "recommended"
    return Finding(
        name=name,
        required=required,
        missing_masks=missing,
        finding=f"{present} labelled in the {PART_NAMES[part]} part, {needed} {verb}",
        remedy=_remedy(part, missing, counts) if missing else "",
    )


def _remedy(part: Part, missing: int, counts: Counts) -> str:
    masks = "one mask" if missing == 1 else f"{missing} masks"
    if counts.patients_by_part[part] == 0:
        return f"Add mammograms with masks of more patients: the {PART_NAMES[part]} part has no patient yet."
    if counts.unlabelled:
        return (
            f"Add {masks} in the {PART_NAMES[part]} part; {counts.unlabelled} examples here wait for theirs."
        )
    return f"Add mammograms with masks: {masks} more in the {PART_NAMES[part]} part."
