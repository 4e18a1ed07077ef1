"""The plan of a run: one frozen, hashed document that every site trains under.

A person writes TOML; `Plan.from_toml` reads it strictly. The canonical form (`to_toml`) names every
setting, defaults included, in a fixed order, and its SHA-256 is the plan's identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal, Self, get_args

import tomli_w
from pydantic import AfterValidator, Field, model_validator

from shared.errors import PlanError
from shared.masking.agreed import LEAST_SITES
from shared.tables import Table, read_table

MetricName = Literal[
    "train_loss",
    "loss",
    "dice",
    "hausdorff",
    "percent_density",
    "density_categories",
    "calibration",
    "appearance",
]
"""What a site may be asked to tell: the loss of its training, the fields of an `Evaluation`, and how its
training images look (`shared.appearance`)."""

METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)


NetworkName = Literal["unet", "mtl_unet", "mild_unet", "dyn_unet"]

EncoderName = Literal["plain", "resnet18", "resnet34", "resnet50", "efficientnet-b0", "efficientnet-b2"]

LossName = Literal["dice_ce", "focal_tversky"]

PersonalLayers = Literal["none", "norms", "dense_decoder"]

CategorySource = Literal["readers", "simulated"]
"""Who says in which category an image is: radiologists who read it, or what simulated it."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RunId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class ModelPlan(Table):
    """Which network is trained, by which loss, and on images of which size.

    `encoder` is for mtl_unet. `width` has so many times as many channels at every level; None is as many as
    the size has. With the `task_weighting` "uncertainty" the network learns the weights of its tasks' losses.
    `density_band` adds a head for density bands and says whose categories teach it; None has no head.
    `pixel_mm` is the scale of the input where a picture's spacing is known; None fits every picture into it.
    """

    network: NetworkName = "mtl_unet"
    encoder: EncoderName = "plain"
    size: Literal["tiny", "base"] = "base"
    width: Annotated[float, Field(ge=0.1, le=8)] | None = None
    loss: LossName = "dice_ce"
    task_weighting: Literal["uncertainty", "equal"] = "uncertainty"
    density_band: CategorySource | None = None
    input_height_px: Annotated[int, Field(ge=64, le=4096, multiple_of=32)] = 1024
    input_width_px: Annotated[int, Field(ge=64, le=4096, multiple_of=32)] = 512
    pixel_mm: Annotated[float, Field(ge=0.2, le=5)] | None = None

    @property
    def has_band_head(self) -> bool:
        """Whether the network learns density bands."""
        return self.density_band is not None

    @property
    def words(self) -> str:
        """Encoder, size and width for a person."""
        encoder = "" if self.encoder == "plain" else f"{self.encoder}, "
        width = "" if self.width is None else f", width {self.width:g}"
        return encoder + self.size + width

    @model_validator(mode="after")
    def _insist_on_an_encoder_of_use(self) -> Self:
        if self.encoder != "plain" and self.network != "mtl_unet":
            raise ValueError(f"{self.network} has no 'encoder' to choose; leave it out, or train mtl_unet")
        return self


class TrainingPlan(Table):
    """How a site trains in one round.

    `deterministic` makes a GPU give the same bytes whenever it computes the same, as a CPU does anyway. With
    `flip`, a part of augmentation, half of the images are seen upside down, and the model may be used so.
    """

    local_epochs: Annotated[int, Field(ge=1, le=100)] = 1
    batch_size: Annotated[int, Field(ge=1, le=256)] = 4
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-2
    warmup_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    augment: bool = True
    flip: bool = False
    deterministic: bool = False

    @model_validator(mode="after")
    def _insist_on_augmentation(self) -> Self:
        if self.flip and not self.augment:
            raise ValueError("'training.flip' is a part of augmentation: set 'training.augment' as well")
        return self


class RoundsPlan(Table):
    """How many rounds, how many answers each needs, and how long it waits for them.

    `late_updates` says what becomes of an update that came after its attempt was closed: in the next attempt
    at the same round the site sends it again, or computes another.
    """

    count: Annotated[int, Field(ge=1, le=10_000)]
    quorum: Annotated[int, Field(ge=2, le=10_000)] = 2
    timeout_s: Annotated[float, Field(ge=5, le=7 * 86_400)] = 3600.0
    late_updates: Literal["use", "refuse"] = "use"


StrategyName = Literal[
    "fedavg", "fedprox", "fedadam", "fedyogi", "fedbn", "scaffold", "trimmed_mean", "median", "multi_krum"
]


class AggregationPlan(Table):
    """How updates travel, and what the coordinator makes of them.

    `max_update_norm` bounds the L2 norm of a site's whole update, before it is scaled by the site's share;
    None leaves it to the round's grid, which bounds each value.

    `proximal_mu` is for fedprox; `server_learning_rate`, both momenta and `adaptivity` are for fedadam and
    fedyogi; `hostile_sites` is for trimmed_mean and multi_krum.
    """

    strategy: StrategyName = "fedavg"
    bits: Literal[8, 16] = 16
    compression: Literal["zstd", "none"] = "zstd"
    max_update_norm: Annotated[float, Field(gt=0, le=1e9)] | None = None
    proximal_mu: Annotated[float, Field(gt=0, le=10)] = 0.01
    server_learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    second_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    adaptivity: Annotated[float, Field(gt=0, le=1)] = 1e-3
    hostile_sites: Annotated[int, Field(ge=1, le=1000)] = 1

    @property
    def least_answers(self) -> int:
        """Answers without which the strategy means nothing."""
        return {
            "median": 3,
            "trimmed_mean": 2 * self.hostile_sites + 1,
            "multi_krum": 2 * self.hostile_sites + 3,
        }.get(self.strategy, 2)


class PersonalisationPlan(Table):
    """Which layers of the final weights every site fine-tunes for itself, and how; they never leave it.

    `learning_rate` is a peak, with the warm-up and the cosine of the training.
    """

    layers: PersonalLayers = "none"
    epochs: Annotated[int, Field(ge=1, le=1000)] = 10
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3


class PatientNoisePlan(Table):
    """Noise on every step of training, which bounds what a model can tell of one patient.

    A patient's gradient is shortened to a length of `gradient_norm` at most, and noise is added whose
    standard deviation is `multiplier` times that. `delta` is the one for which sites tell their epsilon.
    """

    multiplier: Annotated[float, Field(ge=0.1, le=1000)]
    gradient_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    delta: Annotated[float, Field(ge=1e-12, le=1e-3)] = 1e-5


class SiteNoisePlan(Table):
    """Noise that all sites add to their masked updates, which bounds what a sum can tell of one of them.

    A site's update is within `aggregation.max_update_norm`; what the honest ones add to a sum has a standard
    deviation of `multiplier` times by how much one site can move it.
    """

    multiplier: Annotated[float, Field(ge=0.1, le=1000)]
    delta: Annotated[float, Field(ge=1e-12, le=1e-3)] = 1e-5


class PrivacyPlan(Table):
    """How little the coordinator learns of a single site, and everybody of a single patient.

    With `secure_aggregation` it learns the sum of a round's updates and no single one; "auto" leaves it to
    `run start`: on with three sites or more. `colluding_sites` may help it without changing that. With
    `neighbours` each site agrees on masks with so many others alone; None is all of them. With `metrics`
    "in_aggregate" it learns of metrics, too, what all sites tell together; None is what each tells.
    """

    secure_aggregation: Literal["auto", "on", "off"] = "auto"
    colluding_sites: Annotated[int, Field(ge=0, le=1000)] = 0
    metrics: Literal["in_aggregate"] | None = None
    neighbours: Annotated[int, Field(ge=4, le=1000, multiple_of=2)] | None = None
    patient_noise: PatientNoisePlan | None = None
    site_noise: SiteNoisePlan | None = None

    @property
    def is_noisy(self) -> bool:
        """Whether noise bounds what the model tells of a patient or of a site."""
        return self.patient_noise is not None or self.site_noise is not None


def _each_once(names: Sequence[MetricName]) -> tuple[MetricName, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a metric is named twice")
    return tuple(names)


class Plan(Table):
    """A whole plan. Construct with `from_toml`; compare by `sha256`.

    Attributes
    ----------
    metrics
        What every site is asked to tell beside its update; each name once.
    parent
        Identity of the plan that this one changes or extends; None for a plan of its own.
    initial_weights
        SHA-256 of the safetensors file of weights that the run starts from; None draws them from the seed.
    extends
        Ids of the finished runs that this one goes on from, oldest first; the last one's final weights are
        the initial ones. None for a run of its own.
    """

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    metrics: Annotated[tuple[MetricName, ...], Field(strict=False), AfterValidator(_each_once)] = METRIC_NAMES
    parent: Sha256 | None = None
    initial_weights: Sha256 | None = None
    extends: Annotated[tuple[RunId, ...], Field(strict=False, min_length=1, max_length=100)] | None = None
    rounds: RoundsPlan
    model: ModelPlan = ModelPlan()
    training: TrainingPlan = TrainingPlan()
    aggregation: AggregationPlan = AggregationPlan()
    personalisation: PersonalisationPlan = PersonalisationPlan()
    privacy: PrivacyPlan = PrivacyPlan()

    @model_validator(mode="after")
    def _insist_on_a_dense_decoder(self) -> Self:
        if self.personalisation.layers == "dense_decoder" and self.model.network != "mtl_unet":
            raise ValueError(
                f"{self.model.network} has one decoder for all tasks; set 'personalisation.layers' to norms, "
                "or train mtl_unet"
            )
        return self

    @model_validator(mode="after")
    def _insist_on_nothing_beside_noise(self) -> Self:
        """What noise does not cover would tell of patients what noise hides."""
        if not self.privacy.is_noisy:
            return self
        if self.metrics:
            raise ValueError(
                "noise bounds what the model tells, and metrics would tell beside it; set 'metrics' to []"
            )
        if self.privacy.patient_noise and self.training.deterministic:
            raise ValueError(
                "noise is never the same twice; leave 'training.deterministic' out, or the noise"
            )
        return self

    @model_validator(mode="after")
    def _insist_on_a_sum_that_noise_can_hide_in(self) -> Self:
        if self.privacy.site_noise is None:
            return self
        if self.privacy.secure_aggregation == "off":
            raise ValueError(
                "'privacy.site_noise' hides a site in the sum of all; it needs 'privacy.secure_aggregation'"
            )
        if self.aggregation.max_update_norm is None:
            raise ValueError(
                "'privacy.site_noise' is measured by how far a site can move the sum; set "
                "'aggregation.max_update_norm'"
            )
        if self.aggregation.strategy == "scaffold" or self.aggregation.bits != 16:
            raise ValueError(
                "'privacy.site_noise' covers 16-bit updates of weights alone; leave scaffold and 8 bits out"
            )
        if self.rounds.quorum < self.privacy.colluding_sites + 2:
            raise ValueError(
                "'privacy.site_noise' is reckoned with the honest ones of the quorum; set 'rounds.quorum' "
                "to two more than 'privacy.colluding_sites' at least"
            )
        return self

    @model_validator(mode="after")
    def _insist_on_masks_for_metrics(self) -> Self:
        if self.privacy.metrics == "in_aggregate" and self.privacy.secure_aggregation != "on":
            raise ValueError(
                "'privacy.metrics' in_aggregate hides each site's metrics under the masks of its update; set "
                "'privacy.secure_aggregation' to on"
            )
        return self

    @model_validator(mode="after")
    def _insist_on_enough_answers(self) -> Self:
        least = self.aggregation.least_answers
        if self.rounds.quorum < least:
            raise ValueError(f"{self.aggregation.strategy} needs a 'rounds.quorum' of at least {least}")
        return self

    @model_validator(mode="after")
    def _insist_on_a_parent(self) -> Self:
        if self.extends and not (self.parent and self.initial_weights):
            raise ValueError("what goes on from another run needs its 'parent' and 'initial_weights'")
        return self

    @classmethod
    def from_toml(cls, text: str | bytes) -> Plan:
        """Read a plan.

        Raises
        ------
        PlanError
            The text is not TOML or not UTF-8, a key is unknown (the nearest known one is named), a required
            setting is missing, or a value is out of range.
        """
        return read_table(cls, text, what="plan", error=PlanError)

    def to_toml(self) -> str:
        """The canonical form: every setting, fixed order; those without a default only if they are set."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def lineage(self, run_id: str) -> tuple[str, ...]:
        """A run under this plan after those that it goes on from, oldest first."""
        return (*(self.extends or ()), run_id)

    @property
    def is_masked(self) -> bool:
        """Whether updates go under masks that cancel in their sum."""
        return self.privacy.secure_aggregation == "on"

    @property
    def tells_in_aggregate(self) -> bool:
        """Whether metrics are asked for, and only as sums under those masks."""
        return self.privacy.metrics == "in_aggregate" and bool(self.metrics)

    @property
    def evaluation_number(self) -> int:
        """Number of the exchange in which the final weights are evaluated.

        Under masks it is one of its own: for one number sites sign one sum, from one set of weights.
        """
        return self.rounds.count + self.tells_in_aggregate

    @property
    def least_cohort(self) -> int:
        """Sites without which no round is begun."""
        masked = max(LEAST_SITES, self.privacy.colluding_sites + 2) if self.is_masked else 0
        return max(self.rounds.quorum, masked)

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the canonical form: the identity of the plan."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()
