"""What a model's weights can tell of a patient or a site at most, where noise bounds it, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from server.store import Answer
from shared.masking.site_noise import epsilon_of_a_site
from shared.plan import PatientNoisePlan, Plan


def guarantees(plan: Plan, answers: Iterable[Answer], *, num_rounds: int) -> Sequence[str]:
    """A paragraph for each kind of noise; none where no noise was added, or no site has told what it came to.

    Parameters
    ----------
    answers
        All of the run: a site that left before the last round has spent as well.
    num_rounds
        Rounds that were finished.
    """
    noise = plan.privacy.patient_noise
    told = [each.contribution.epsilon for each in answers if each.contribution is not None]
    largest = max((epsilon for epsilon in told if epsilon is not None), default=None)
    of_patients = "" if noise is None or largest is None else _patients_privacy(largest, noise)
    return [each for each in (of_patients, _sites_privacy(plan, num_rounds)) if each]


def _patients_privacy(told: float, noise: PatientNoisePlan) -> str:
    return (
        f"Differential privacy of a patient: epsilon {told:.2f} at most (the largest "
        f"that a site tells of this run), delta {noise.delta:g}, at each site for itself. DP-SGD with noise "
        f"of {noise.multiplier:g} times the bound of {noise.gradient_norm:g}; the unit is a patient with all "
        "her images in a site's training part. Composed as privacy loss distributions over all steps; "
        "Poisson sampling, neighbours by one patient more or less. Not covered: how many examples and "
        "patients a site has, that and when it took part, how long it computed, patients of whom two sites "
        "have images, other runs on the same patients, and whoever chose this model among others."
    )


def _sites_privacy(plan: Plan, num_rounds: int) -> str:
    noise = plan.privacy.site_noise
    if noise is None:
        return ""
    epsilon = epsilon_of_a_site(num_rounds, multiplier=noise.multiplier, delta=noise.delta)
    return (
        f"Differential privacy of a site: epsilon {epsilon:.2f} at most over the {num_rounds} "
        f"rounds of this run, delta {noise.delta:g}. Skellam noise of {noise.multiplier:g} times what one "
        "site can move, added by the sites under their masks; the unit is a site with all its patients. It "
        f"holds while {plan.privacy.colluding_sites} sites at most help the coordinator. Composed by Renyi "
        "divergences; neighbours by one site more or less. Not covered: that and when a site took part, how "
        "long it computed, runs before this one, and whoever chose this model among others."
    )
