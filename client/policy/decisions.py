"""What the policy decides, from what is asked and the time: no file, no clock, no socket.

A plan is held against every rule when it is offered, and again at each announcement, for the policy or the
data may have changed since. Hours are asked about when a round is, and before every step of training.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from client.policy.policy import EgressTable, HoursTable, Policy, PrivacyTable
from shared.plan import Plan, PrivacyPlan

POLICY_FILE = "policy_file"
"""Stands for the rule that the policy itself must be readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a coordinator asks a site to consent to.

    Attributes
    ----------
    coordinator
        Name of the federation that the site has joined.
    bundle_sha256
        Of the bundle that the run is started with.
    """

    coordinator: str
    run_id: str
    plan: Plan
    bundle_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the decision needs of the site itself.

    Attributes
    ----------
    coordinator
        Name of the federation that it has joined.
    num_examples
        Examples to train on.
    epsilon
        What would be spent of privacy in all, all rounds of the plan included; infinite without noise.
    approved_bundles
        The site's own list, used where the policy names none.
    """

    coordinator: str
    num_examples: int
    epsilon: float
    approved_bundles: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """One rule held against a plan.

    Attributes
    ----------
    rule
        Its name in `policy.toml`.
    met
        Whether the plan keeps to it.
    words
        What is asked and what is allowed, one line for a person at the site; counts of examples stay out.
    """

    rule: str
    met: bool
    words: str


def rulings(policy: Policy, asked: Asked, site: Site) -> list[Ruling]:
    """Every rule that a plan can keep or break, in the order of `policy.toml`."""
    allow, limits, plan = policy.allow, policy.limits, asked.plan
    coordinators = (site.coordinator,) if allow.coordinators is None else allow.coordinators
    bundles = site.approved_bundles if allow.bundles is None else allow.bundles
    barred = [name for name in plan.metrics if name not in policy.egress.metrics]
    personal_epochs = 0 if plan.personalisation.layers == "none" else plan.personalisation.epochs
    least = max(policy.data.min_examples, policy.egress.smallest_count)
    noise = plan.privacy.patient_noise
    return [
        Ruling(
            rule="allow.coordinators",
            met=asked.coordinator in coordinators,
            words=f"asked by '{asked.coordinator}'; allowed: {', '.join(coordinators) or 'none'}",
        ),
        Ruling(
            rule="allow.plans",
            met=_matches(plan.name, allow.plans),
            words=f"named '{plan.name}'; allowed: {', '.join(allow.plans) or 'none'}",
        ),
        Ruling(
            rule="allow.runs",
            met=_matches(asked.run_id, allow.runs),
            words=f"{asked.run_id}; allowed: {', '.join(allow.runs) or 'none'}",
        ),
        Ruling(
            rule="allow.bundles",
            met=asked.bundle_sha256 in bundles,
            words=f"the app of bundle {asked.bundle_sha256[:12]}; approved: {_short(bundles)}",
        ),
        Ruling(
            rule="limits.rounds",
            met=plan.rounds.count <= limits.rounds,
            words=f"{plan.rounds.count} rounds; at most {limits.rounds}",
        ),
        Ruling(
            rule="limits.local_epochs",
            met=plan.training.local_epochs <= limits.local_epochs,
            words=f"{plan.training.local_epochs} epochs in a round; at most {limits.local_epochs}",
        ),
        Ruling(
            rule="limits.personal_epochs",
            met=personal_epochs <= limits.personal_epochs,
            words=f"{personal_epochs} epochs for this site's own model; at most {limits.personal_epochs}",
        ),
        Ruling(
            rule="data.min_examples",
            met=site.num_examples >= least,
            words=f"needs at least {least} examples to train on",
        ),
        Ruling(
            rule="egress.metrics",
            met=not barred,
            words=f"asks for {', '.join(plan.metrics) or 'no metric'}; "
            + (f"{', '.join(barred)} may not leave" if barred else "all may leave"),
        ),
        Ruling(
            rule="privacy.secure_aggregation",
            met=plan.is_masked or policy.privacy.secure_aggregation == "not required",
            words=f"{'on' if plan.is_masked else 'off'}; {policy.privacy.secure_aggregation} here",
        ),
        Ruling(
            rule="privacy.metrics",
            met=not plan.metrics or plan.tells_in_aggregate or policy.privacy.metrics == "per_site",
            words=_metrics_words(plan, policy.privacy),
        ),
        Ruling(
            rule="privacy.colluding_sites",
            met=not plan.is_masked or plan.privacy.colluding_sites >= policy.privacy.colluding_sites,
            words=f"{plan.privacy.colluding_sites} may help the coordinator; at least "
            f"{policy.privacy.colluding_sites} under secure aggregation",
        ),
        Ruling(
            rule="privacy.noise",
            met=plan.privacy.is_noisy or policy.privacy.noise == "not required",
            words=f"{_noise_words(plan.privacy)}; {policy.privacy.noise} here",
        ),
        Ruling(
            rule="privacy.least_multiplier",
            met=noise is None or noise.multiplier >= policy.privacy.least_multiplier,
            words=(f"{noise.multiplier:g} times the bound" if noise else "no noise")
            + f"; at least {policy.privacy.least_multiplier:g} where there is noise",
        ),
        Ruling(
            rule="privacy.max_epsilon",
            met=policy.privacy.max_epsilon is None or site.epsilon <= policy.privacy.max_epsilon,
            words=_budget_words(site.epsilon, policy.privacy),
        ),
    ]


def broken(policy: Policy, asked: Asked, site: Site) -> list[Ruling]:
    """The rules that a plan breaks."""
    return [each for each in rulings(policy, asked, site) if not each.met]


def next_opening(hours: HoursTable, now: datetime) -> datetime | None:
    """When training may begin; None if it may go on now.

    Parameters
    ----------
    now
        With a time zone.
    """
    local = now.astimezone(hours.zone())
    begin, end = hours.span()
    clock = local.time().replace(tzinfo=None)
    if begin == end:
        return None
    is_open = begin <= clock < end if begin < end else clock >= begin or clock < end
    if is_open:
        return None
    # By the clock on the wall: a change to or from summer time before then is kept where a zone is named.
    opening = datetime.combine(local.date(), begin, tzinfo=local.tzinfo)
    if opening <= local:
        opening = datetime.combine(local.date() + timedelta(days=1), begin, tzinfo=local.tzinfo)
    return opening


def reported_count(egress: EgressTable, num_examples: int) -> int | None:
    """A count as it may leave: rounded down to a bucket; None if it is too small to be told."""
    if num_examples < egress.smallest_count:
        return None
    return num_examples - num_examples % egress.round_counts_to


def _noise_words(privacy: PrivacyPlan) -> str:
    kinds = {"on each patient": privacy.patient_noise, "on each site in the sum": privacy.site_noise}
    return " and ".join(words for words, noise in kinds.items() if noise is not None) or "none"


def _metrics_words(plan: Plan, privacy: PrivacyTable) -> str:
    asked = "in aggregate only" if plan.tells_in_aggregate else "of each site" if plan.metrics else "none"
    allowed = "in aggregate only" if privacy.metrics == "in_aggregate" else "either way"
    return f"metrics are asked for: {asked}; allowed: {allowed}"


def _budget_words(epsilon: float, privacy: PrivacyTable) -> str:
    most = "any" if privacy.max_epsilon is None else f"at most {privacy.max_epsilon:g}"
    if math.isinf(epsilon):
        return f"unbounded; {most} allowed"
    return f"epsilon {epsilon:.3g} with all before it, delta {privacy.delta:g}; {most} allowed"


def _matches(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _short(digests: Collection[str]) -> str:
    return ", ".join(sorted(each[:12] for each in digests)) or "none"
