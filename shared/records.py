"""What coordinator and site say to each other in a round.

Each record (`shared.record`) travels as the payload of a signed envelope (`shared.trust.envelope`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from shared.appearance import Appearance
from shared.evaluation.records import EVALUATED, Evaluation
from shared.masking.records import MaskingAsked, MaskingTold
from shared.plan import MetricName, Plan
from shared.record import PROTOCOL, Identifier, Record, Sha256
from shared.transfer.blob_ref import BlobRef

ANNOUNCEMENT_TYPE = "application/vnd.mammofed.announcement+json"
CONTRIBUTION_TYPE = "application/vnd.mammofed.contribution+json"
REFUSAL_TYPE = "application/vnd.mammofed.refusal+json"

SignedCheckpoint = Annotated[str, Field(min_length=1, max_length=4096)]
"""The sender's signed checkpoint of its audit log: the JSON of its envelope (`shared.audit.checkpoints`)."""
RuleName = Annotated[str, Field(pattern=r"^[a-z_]{1,32}(\.[a-z_]{1,32})?$")]
"""Name of a rule of a site's policy, as `policy.toml` has it."""

MaskedMetrics = Annotated[str, Field(pattern=r"^([0-9a-f]{16})*$", max_length=1 << 16)]
"""Words of 64 bits, hex."""

MAX_REASON_CHARACTERS = 300


class Phase(StrEnum):
    """One exchange between the coordinator and the cohort."""

    COUNT = "count"
    KEYS = "keys"
    SHARES = "shares"
    TRAIN = "train"
    SURVIVORS = "survivors"
    UNMASK = "unmask"
    EVALUATE = "evaluate"


def masked_phases(phase: Phase) -> tuple[Phase, ...]:
    """The phases of an attempt in which what sites tell in this one goes under masks, in order."""
    return (Phase.KEYS, Phase.SHARES, phase, Phase.SURVIVORS, Phase.UNMASK)


ROUND_PHASES: tuple[Phase, ...] = (Phase.TRAIN,)
MASKED_ROUND_PHASES: tuple[Phase, ...] = masked_phases(Phase.TRAIN)
"""The phases of a round, in order: without and with secure aggregation, where all of an attempt's phases bear
one number."""

MASKING_PHASES: frozenset[Phase] = frozenset(MASKED_ROUND_PHASES) - {Phase.TRAIN}
"""Those in which sites speak of masks alone."""


def is_under_masks(phase: Phase, plan: Plan) -> bool:
    """Whether what sites tell in a phase goes under masks."""
    return {Phase.TRAIN: plan.is_masked, Phase.EVALUATE: plan.tells_in_aggregate}.get(phase, False)


METRICS_OF_PHASE: Mapping[Phase, frozenset[MetricName]] = MappingProxyType(
    {
        Phase.COUNT: frozenset(),
        **dict.fromkeys(MASKING_PHASES, frozenset[MetricName]()),
        Phase.TRAIN: frozenset({"train_loss", "loss", "dice", "percent_density"}),
        Phase.EVALUATE: frozenset({*EVALUATED, "appearance"}),
    }
)
"""What a site may be asked to tell in which phase: what takes long or tells much, of the final model."""


def metrics_asked(phase: Phase, named: Sequence[MetricName]) -> tuple[MetricName, ...]:
    """Of the metrics that a plan names, those of a phase, in the plan's order."""
    return tuple(name for name in named if name in METRICS_OF_PHASE[phase])


class Occasion(Record):
    """The one exchange that a record belongs to."""

    protocol: Annotated[int, Field(ge=PROTOCOL, le=PROTOCOL)] = PROTOCOL
    run_id: Identifier
    plan_sha256: Sha256
    round_number: Annotated[int, Field(ge=0)]
    attempt: Annotated[int, Field(ge=1)]
    phase: Phase
    site_id: Identifier
    base_digest: Sha256

    @property
    def attempt_sha256(self) -> str:
        """Hex digest of the attempt, the same for all its sites and phases."""
        document = self.model_dump(mode="json", exclude={"site_id", "phase"})
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


class Terms(Record):
    """How a site scales and rounds its update, and what it needs beside the weights.

    Attributes
    ----------
    weight, total
        The site's share is `weight / total`.
    bits, exponents
        The round's grid: one exponent for each tensor that is sent, in sorted order of names.
    state
        The strategy's state after the last round, in the blob service; `scaffold` needs it, others have none.
    """

    weight: Annotated[int, Field(ge=1)]
    total: Annotated[int, Field(ge=1)]
    bits: Literal[8, 16]
    exponents: list[Annotated[int, Field(ge=-120, le=60)]]
    state: BlobRef | None


class Delta(Record):
    """Weights as what has changed since others (`shared.model.weights_delta`).

    Attributes
    ----------
    since
        Digest of the weights that it applies to.
    blob
        What has changed.
    """

    since: Sha256
    blob: BlobRef


class Counted(Record):
    """A site's last contribution that is in a checkpoint of the run, or of those that it goes on from.

    The site goes on from what it kept after this one: whatever it has computed since is in no checkpoint.
    """

    run_id: Identifier
    round_number: Annotated[int, Field(ge=1)]


class Rejected(Record):
    """A contribution of a site that admission did not let in, and why: for the people at the site."""

    round_number: Annotated[int, Field(ge=1)]
    attempt: Annotated[int, Field(ge=1)]
    reason: Annotated[str, Field(pattern=r"^[ -~]*$", min_length=1, max_length=MAX_REASON_CHARACTERS)]


class Announcement(Record):
    """The coordinator asks one site to take part in one phase.

    Attributes
    ----------
    occasion
        Run, round, attempt, phase and the site that is asked.
    plan, base
        Where the plan and the weights of the round stand in the blob service.
    terms
        Of the update; in the train phase alone.
    metrics
        What the site is asked to tell: of what the plan names, at most that of the phase.
    deadline
        Seconds since the Unix epoch; an answer after it is dropped.
    counted
        This site's last contribution that counts; None if there is none.
    rejected
        One that was not let in since then; None if there is none.
    checkpoint
        Where the coordinator's audit log stands.
    delta
        A shorter way to the base for a site that has the weights before it; None if there is none.
    masking
        What is asked under secure aggregation: in the phases for masks but the first, and in the phase in
        which something goes under them.
    """

    occasion: Occasion
    plan: BlobRef
    base: BlobRef
    terms: Terms | None
    counted: Counted | None
    rejected: Rejected | None
    metrics: tuple[MetricName, ...]
    deadline: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    checkpoint: SignedCheckpoint
    delta: Delta | None = None
    masking: MaskingAsked | None = None


class Contribution(Record):
    """What a site releases in answer to an announcement.

    Attributes
    ----------
    occasion
        Echo of the announcement's.
    num_examples
        Training examples of the site, or behind the update, rounded down as the site's policy says; 0 in the
        evaluate phase and where masks alone are spoken of.
    update
        Local weights minus the round's weights, by the round's terms, masked under secure aggregation; in the
        train phase alone. See `shared.fixed_point`.
    num_clipped
        Values of the update that lay beyond the round's grid.
    train_loss
        Mean loss over the steps of this round; None in the evaluate phase, and where it was not asked for.
        This and the next three are None under a plan that lets metrics out in aggregate only.
    evaluation
        The round's incoming weights on the validation part (train phase) or on the test part (evaluate
        phase); None if the site has no such examples, or too few to tell of.
    personal_evaluation
        In the evaluate phase, of the final weights with the site's own layers in them, over the same images;
        None unless the plan has such made, and where the site keeps the final weights as they are.
    appearance
        How the training images look; in the evaluate phase alone, and None where it was not asked for or
        there are too few to tell of.
    duration_s
        Seconds that the site computed, rounded up to steps of ten.
    checkpoint
        Where the site's audit log stands.
    masking
        What the site tells in the phases for masks, and in no other.
    epsilon
        Of the run with those that it goes on from, this round included, for the plan's delta, rounded up; in
        the train phase of a plan with noise on patients, and in no other.
    masked_metrics
        What was asked for of metrics, as sums under the masks of the attempt (`shared.masking.metric_words`);
        None under a plan that lets each site's out.
    """

    occasion: Occasion
    num_examples: Annotated[int, Field(ge=0)]
    update: BlobRef | None
    num_clipped: Annotated[int, Field(ge=0)]
    train_loss: Annotated[float, Field(allow_inf_nan=False)] | None
    evaluation: Evaluation | None
    personal_evaluation: Evaluation | None
    appearance: Appearance | None
    duration_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    checkpoint: SignedCheckpoint
    masking: MaskingTold | None
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    # Left out where there is none, so that versions before it read what is told of each site.
    masked_metrics: Annotated[MaskedMetrics | None, Field(exclude_if=lambda told: told is None)] = None


class Refusal(Record):
    """A site does not take part this time.

    Attributes
    ----------
    reason
        Name of the error's class: never its text, which could hold what must not leave.
    rules
        Names of the rules of the site's policy that were broken.
    not_before
        Seconds since the Unix epoch from when on asking again makes sense; None if the site cannot say.
    checkpoint
        Where the site's audit log stands.
    """

    occasion: Occasion
    reason: Annotated[str, Field(pattern=r"^[A-Za-z]{1,64}$")]
    checkpoint: SignedCheckpoint
    rules: tuple[RuleName, ...] = ()
    not_before: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
