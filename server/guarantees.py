"""What a model's weights can tell of a patient or a site at most, where noise bounds it, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from server.summary import RunSummary
from shared.masking.site_noise import epsilon_of_a_site
from shared.plan import PatientNoisePlan, Plan


def guarantees(summary: RunSummary, plan: Plan) -> Sequence[str]:
    """A paragraph for each kind of noise; none where no noise was added."""
    return [
        each
        for each in (_patients_privacy(summary, plan.privacy.patient_noise), _sites_privacy(summary, plan))
        if each
    ]


def _patients_privacy(summary: RunSummary, noise: PatientNoisePlan | None) -> str:
    if noise is None:
        return ""
    told = [part.epsilon for part in summary.parts if part.epsilon is not None]
    return (
        f"Differential privacy of a patient: epsilon {max(told, default=math.nan):.2f} at most (the largest "
        f"that a site tells of this run), delta {noise.delta:g}, at each site for itself. DP-SGD with noise "
        f"of {noise.multiplier:g} times the bound of {noise.gradient_norm:g}; the unit is a patient with all "
        "her images in a site's training part. Composed as privacy loss distributions over all steps; "
        "Poisson sampling, neighbours by one patient more or less. Not covered: how many examples and "
        "patients a site has, that and when it took part, how long it computed, patients of whom two sites "
        "have images, other runs on the same patients, and whoever chose this model among others."
    )


def _sites_privacy(summary: RunSummary, plan: Plan) -> str:
    noise = plan.privacy.site_noise
    if noise is None:
        return ""
    epsilon = epsilon_of_a_site(summary.num_finished, multiplier=noise.multiplier, delta=noise.delta)
    return (
        f"Differential privacy of a site: epsilon {epsilon:.2f} at most over the {summary.num_finished} "
        f"rounds of this run, delta {noise.delta:g}. Skellam noise of {noise.multiplier:g} times what one "
        "site can move, added by the sites under their masks; the unit is a site with all its patients. It "
        f"holds while {plan.privacy.colluding_sites} sites at most help the coordinator. Composed by Renyi "
        "divergences; neighbours by one site more or less. Not covered: that and when a site took part, how "
        "long it computed, runs before this one, and whoever chose this model among others."
    )
