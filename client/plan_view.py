"""A plan as a person needs to see it to decide: what runs, on what, what leaves, and what has changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from client.catalog import Catalog
from client.consenting import Consenting
from client.egress import DURATION_STEP_S
from client.enrolment import Membership
from client.personalising import MIN_IMAGES
from client.policy.decisions import Ruling
from client.readiness import PART_NAMES
from client.store.evaluations import KeptEvaluation
from client.store.personal_models import Outcome, PersonalModel
from client.store.plans import OfferedPlan
from shared.errors import PolicyFileError
from shared.evaluation.measures import MEASURES, PER_ROUND, figure_text, figures
from shared.evaluation.records import EVALUATED, Evaluation
from shared.model import blank_model
from shared.model.sent import sent_shapes
from shared.plan import Plan
from shared.records import Phase, metrics_asked


def view_plan(run_id: str, consenting: Consenting, catalog: Catalog, membership: Membership) -> PlanView:
    """A plan as it stands here, held against the policy and compared with one that is known.

    Raises
    ------
    NotFoundError
        No plan of this run was offered.
    """
    offered = consenting.plans.get(run_id)
    model = offered.plan.model
    sent = sent_shapes(blank_model(model), offered.plan.aggregation)
    counts = catalog.counts()
    try:
        rulings, fault = consenting.guard.rulings(offered, membership), ""
    except PolicyFileError as error:
        rulings, fault = [], error.message
    return PlanView(
        offered=offered,
        examples={
            name: counts.usable(part, categorised=model.has_band_head) for part, name in PART_NAMES.items()
        },
        tensors=len(sent),
        update_bytes=sum(map(math.prod, sent.values())) * offered.plan.aggregation.bits // 8,
        rulings=rulings,
        policy_fault=fault,
        compared=_parent(offered, consenting) or consenting.plans.last_approved(before=offered),
        evaluations=consenting.evaluations.of_run(run_id),
        personal=consenting.personal_models.of_run(run_id),
    )


def _parent(offered: OfferedPlan, consenting: Consenting) -> OfferedPlan | None:
    known = [each for each in consenting.plans.all() if each.plan.sha256 == offered.plan.parent]
    return known[-1] if known else None


def differences(old: Plan, new: Plan) -> list[tuple[str, str, str]]:
    """Settings that differ, each with the old and the new value; name and parent aside."""
    before, after = dict(_flat(old.model_dump())), dict(_flat(new.model_dump()))
    return [
        (name, str(before[name]), str(after[name]))
        for name in after
        if name not in {"name", "parent"} and before[name] != after[name]
    ]


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, tuple):
            yield f"{prefix}{key}", ", ".join(value)
        else:
            yield f"{prefix}{key}", value


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """All that a person needs to decide on a plan.

    Attributes
    ----------
    examples
        Examples here that the plan has use for, by part; for eyes at the site.
    tensors, update_bytes
        Of the update that leaves in each round; bytes before compression.
    rulings
        Every rule of the policy held against the plan; none while the policy cannot be read.
    policy_fault
        Why the policy cannot be read; empty if it can.
    compared
        The plan that this one is compared with: its parent if that was offered here, or else the one
        approved last.
    evaluations
        Of the run's weights here, by round; for eyes at the site.
    personal
        What this site has made of the final weights for itself; None if it has made nothing yet.
    """

    offered: OfferedPlan
    examples: Mapping[str, int]
    tensors: int
    update_bytes: int
    rulings: Sequence[Ruling]
    policy_fault: str
    compared: OfferedPlan | None
    evaluations: Sequence[KeptEvaluation]
    personal: PersonalModel | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        offered, plan = self.offered, self.offered.plan
        return {
            "run_id": offered.run_id,
            "name": plan.name,
            "state": offered.state.value,
            "reason": offered.reason,
            "decided_by": offered.decided_by,
            "plan_sha256": plan.sha256,
            "parent": plan.parent,
            "bundle_sha256": offered.bundle_sha256,
            "plan": plan.model_dump(mode="json"),
            "examples": dict(self.examples),
            "leaves": {
                "tensors": self.tensors,
                "update_bytes": self.update_bytes,
                "metrics": list(plan.metrics),
                "values": self._leaves(),
            },
            "policy_fault": self.policy_fault,
            "rules": [{"rule": each.rule, "met": each.met, "words": each.words} for each in self.rulings],
            "compared_with": self.compared.run_id if self.compared else None,
            "differences": [
                {"setting": name, "old": old, "new": new} for name, old, new in self._differences()
            ],
            "evaluations": [_evaluation_json(each) for each in self.evaluations],
            "personal": None if self.personal is None else _personal_json(self.personal),
        }

    def lines(self) -> Iterator[str]:
        """The same in plain words."""
        offered, plan = self.offered, self.offered.plan
        model, training = plan.model, plan.training
        yield f"Plan '{plan.name}' of {offered.run_id}: {offered.state.value}" + (
            f" by {offered.decided_by}" if offered.decided_by else ""
        )
        if offered.reason:
            yield f"  reason: {offered.reason}"
        yield f"  SHA-256 {plan.sha256}" + (f", child of {plan.parent}" if plan.parent else "")
        yield "What runs"
        yield (
            f"  {plan.rounds.count} rounds of {training.local_epochs} epoch(s) in batches of "
            f"{training.batch_size}; {model.network} ({model.words}) on "
            f"{model.input_height_px} x {model.input_width_px} px; strategy {plan.aggregation.strategy}"
        )
        yield from self._start()
        yield from self._personalisation()
        yield f"  the app installed here, named by bundle {offered.bundle_sha256[:12]}; no code comes with it"
        yield "On what"
        yield (
            "  "
            + ", ".join(f"{count} {part}" for part, count in self.examples.items())
            + (" examples with masks or categories" if model.has_band_head else " examples with masks")
        )
        yield "What leaves"
        yield from (f"  {words}" for words in self._leaves().values())
        yield "Policy"
        if self.policy_fault:
            yield f"  ✗ {self.policy_fault}"
        for each in self.rulings:
            yield f"  {'✓' if each.met else '✗'} {each.rule}: {each.words}"
        yield from self._comparison()
        if self.evaluations:
            yield "How its weights do here; exact figures, for eyes at this site"
            yield from (line for each in self.evaluations for line in _evaluation_lines(each))
        if self.personal is not None:
            yield f"This site's own model: {_personal_words(self.personal)}"

    def _start(self) -> Iterator[str]:
        """From which weights, if they are not drawn from the plan's seed."""
        plan = self.offered.plan
        if plan.extends:
            yield f"  goes on from {plan.extends[-1]}: its final weights (SHA-256 {plan.initial_weights}),"
            yield "  what each site kept of it, and the weight that a site had; who is new is counted"
        elif plan.initial_weights:
            yield f"  starts from weights that the coordinator gives (SHA-256 {plan.initial_weights})"

    def _personalisation(self) -> Iterator[str]:
        own = self.offered.plan.personalisation
        if own.layers != "none":
            yield f"  after the last round {own.epochs} epoch(s) on its {own.layers} alone, for a model of"
            yield "  this site's own, which stays here and is used by `segment --personal`"

    def _leaves(self) -> dict[str, str]:
        """What each part of a contribution tells, in words."""
        metrics, aggregation = self.offered.plan.metrics, self.offered.plan.aggregation
        longest = aggregation.max_update_norm
        in_aggregate = ", in aggregate only" if self.offered.plan.tells_in_aggregate else ""
        in_rounds, at_the_end = (
            ", ".join(name for name in metrics_asked(phase, metrics) if name in EVALUATED) or "none"
            for phase in (Phase.TRAIN, Phase.EVALUATE)
        )
        return {
            "update": f"in a round, an update of {self.tensors} tensors in numbers of "
            f"{aggregation.bits} bits (at most {self.update_bytes / 1e6:.1f} MB)"
            + (f", shortened here to a norm of {longest:g} if it is longer" if longest else "")
            + (self._masking_words()),
            "num_examples": "the number of training examples, rounded down as the policy says: once before "
            "the first round, for this site's weight, and in every round",
            "num_clipped": "how many numbers of the update were cut off at the round's limits",
            "train_loss": f"the mean loss of training: {'asked for' if 'train_loss' in metrics else 'no'}"
            + in_aggregate,
            "evaluation": "means, spreads and 95 % intervals over images, of one never: in a round of "
            f"{in_rounds}; of the final weights of {at_the_end}; and the number of these images, "
            f"rounded down likewise{in_aggregate}",
            "personal_evaluation": self._own_model_words(),
            "appearance": "means and covariances of grey values and texture over the training images, "
            "with the final evaluation: what new images are compared with before the model is used on them"
            + in_aggregate
            if "appearance" in metrics
            else "how the training images look: no",
            "duration_s": f"how long the site computed, rounded up to steps of {DURATION_STEP_S:.0f} seconds",
            "occasion": "run, plan, round, attempt and weights that this answers, and the site's id",
            "checkpoint": "where the site's audit log stands: the number of its lines, a hash, the time",
            "masking": "what masks need: public keys, shares of secrets sealed for other sites, a signature "
            "under whose updates are added up, and what takes the masks off that sum alone"
            if self.offered.plan.is_masked
            else "of masks: nothing, for this plan has no secure aggregation",
            "epsilon": "what this run has spent of the patients' privacy so far, as one number"
            if self.offered.plan.privacy.patient_noise
            else "of privacy spent: nothing, for this plan adds no noise",
            "masked_metrics": "the metrics above as numbers under the mask: the coordinator can read the "
            "sums of all sites alone, and drops what fewer than two tell"
            if in_aggregate
            else "of metrics under a mask: nothing, for this plan asks for those of each site",
        }

    def _own_model_words(self) -> str:
        plan = self.offered.plan
        if plan.personalisation.layers == "none":
            return "of a model of this site's own: none is made"
        if plan.tells_in_aggregate:
            return "of this site's own model: nothing, for metrics leave in aggregate only"
        return "the same of this site's own model beside the final weights"

    def _masking_words(self) -> str:
        privacy = self.offered.plan.privacy
        if not self.offered.plan.is_masked:
            return ", which the coordinator can read"
        noise = ", with noise that hides this site in it" if privacy.site_noise else ""
        return (
            f", under a mask: the coordinator can read the sum of all alone{noise}, as long as at most "
            f"{privacy.colluding_sites} of the other sites help it"
        )

    def _comparison(self) -> Iterator[str]:
        if self.compared is None:
            yield "No plan was approved here before."
            return
        yield f"Compared with '{self.compared.plan.name}' of {self.compared.run_id}"
        changed = self._differences()
        yield from (f"  {name}: {old} -> {new}" for name, old, new in changed)
        if not changed:
            yield "  no setting differs"

    def _differences(self) -> list[tuple[str, str, str]]:
        return differences(self.compared.plan, self.offered.plan) if self.compared else []


def _evaluation_json(kept: KeptEvaluation) -> dict[str, Any]:
    return {
        "round": kept.round_number,
        "phase": kept.phase.value,
        "at": kept.at,
        "may_be_told": kept.may_be_told,
        "num_examples": kept.evaluation.num_examples,
        "measures": _measures_json(kept.evaluation),
        "personal_measures": None if kept.personal is None else _measures_json(kept.personal),
    }


def _measures_json(evaluation: Evaluation) -> dict[str, Any]:
    return {name: asdict(figure) for name, figure in figures(evaluation).items()}


def _evaluation_lines(kept: KeptEvaluation) -> Iterator[str]:
    """One line for a round; one for each measure of the final weights, beside it that of the own model."""
    found, num_images = figures(kept.evaluation), kept.evaluation.num_examples
    untold = "" if kept.may_be_told else ", not told"
    if kept.phase is Phase.TRAIN:
        words = ", ".join(
            f"{MEASURES[name].words} {figure_text(name, found[name])}" for name in PER_ROUND if name in found
        )
        yield f"  before round {kept.round_number}, {num_images} validation images{untold}: {words}"
        return
    yield f"  at the end, {num_images} test images{untold}:"
    own = {} if kept.personal is None else figures(kept.personal)
    for name, figure in found.items():
        beside = f"; this site's own model {figure_text(name, own.get(name))}" if own else ""
        yield f"    {MEASURES[name].words}: {figure_text(name, figure)}{beside}"


def _personal_json(personal: PersonalModel) -> dict[str, Any]:
    return {
        "outcome": personal.outcome.value,
        "has_own_layers": personal.layers is not None,
        "weights_sha256": personal.weights_sha256,
        "at": personal.at,
        "epoch": personal.epoch,
        "validation_dice_before": personal.before,
        "validation_dice_after": personal.after,
    }


def _personal_words(personal: PersonalModel) -> str:
    reason = {
        Outcome.OWN_LAYERS: f"the layers of epoch {personal.epoch}",
        Outcome.NOT_BETTER: "no epoch did better on the validation images",
        Outcome.TOO_FEW_IMAGES: f"fewer than {MIN_IMAGES} images to train on, or to choose an epoch by",
        Outcome.ASTRAY: "the fine-tuning gave numbers that are not finite",
    }[personal.outcome]
    if personal.layers is None:
        return f"the final weights as they are; {reason}"
    if personal.before is None or personal.after is None:
        return f"{reason}, or of its rounds where the plan keeps some here"
    return f"{reason}; Dice on the validation images {personal.before:.3f} before, {personal.after:.3f} after"
