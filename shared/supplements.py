"""Signed supplements of a published model: what its evaluation has shown, each a file of its own.

A model is published before it is evaluated, so that nothing that happens then can lose it. What the
evaluation shows comes beside the package: one envelope of the coordinator for each kind, which names the
model by the SHA-256 of its manifest. A kind is there once or not at all; it is never replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from shared.band_calibration import BandCalibration
from shared.errors import TrustError
from shared.evaluation.measures import IN_AGGREGATE, MEASURES, Figure, figure_text
from shared.plan import MetricName
from shared.reference import Reference
from shared.tables import Table
from shared.trust.anchors import RetiredKey
from shared.trust.envelope import Envelope, sign
from shared.trust.keys import SigningKey, VerifyKey
from shared.trust.retired import require_signed_in_time, verify_by_any

SUPPLEMENT_TYPE = "application/vnd.mammofed.supplement+json"
MATRIX_MEASURES = ("dice_dense", "dice_breast", "percent_density_r", "percent_density_error")
"""Those that the matrix of models and sites has, by name in `MEASURES`."""
FAIRNESS_MEASURE = "dice_dense"
"""By which the worst site is found."""

Number = Annotated[float, Field(allow_inf_nan=False)]
SiteName = Annotated[str, Field(min_length=1, max_length=80)]


class SupplementKind(StrEnum):
    """What a supplement tells."""

    CROSS_SITE = "cross_site"
    FAIRNESS = "fairness"
    CALIBRATION = "calibration"
    LIMITS = "limits"
    PRIVACY = "privacy"

    @property
    def file(self) -> str:
        """Its name in a package."""
        return f"supplement_{self.value}.json"

    @property
    def words(self) -> str:
        """Its name for a person."""
        return {
            SupplementKind.CROSS_SITE: "Published models by sites",
            SupplementKind.FAIRNESS: "Fairness, the worst site first",
            SupplementKind.CALIBRATION: "Calibration",
            SupplementKind.LIMITS: "Limits: which images are measured, and how well",
            SupplementKind.PRIVACY: "Privacy",
        }[self]


class Told(Table):
    """A measure's value over so many images, with its 95 % interval where there is one."""

    value: Number
    num_images: Annotated[int, Field(ge=1)]
    interval: tuple[Number, Number] | None = None

    @classmethod
    def of(cls, figure: Figure) -> Told:
        """As `shared.evaluation.measures` has it."""
        return cls(value=figure.value, num_images=figure.num_images, interval=figure.interval)

    def text(self, measure: str) -> str:
        """For a person."""
        return figure_text(
            measure, Figure(value=self.value, num_images=self.num_images, interval=self.interval)
        )


class SiteFigures(Table):
    """What is told of one site's test images; measures by name."""

    site: SiteName
    measures: dict[str, Told]


class ModelAtSites(Table):
    """One published model on the test parts of the sites of its run; never a site's own model.

    Attributes
    ----------
    all_sites
        Over the images of all of them.
    in_aggregate
        Whether sites told it in aggregate only: then `sites` is empty.
    """

    model_id: str
    manifest_sha256: str
    sites: tuple[SiteFigures, ...]
    all_sites: dict[str, Told]
    in_aggregate: bool = False


class CrossSite(Table):
    """Published models, the newest last, by sites: each as it did when its run ended."""

    kind: Literal["cross_site"] = "cross_site"
    models: tuple[ModelAtSites, ...]

    @property
    def lines(self) -> Sequence[str]:
        """For a person."""
        measure = FAIRNESS_MEASURE
        return [
            f"{one.model_id}, {MEASURES[measure].words}: {', '.join(_at_sites(one, measure))}"
            for one in self.models
        ]


def _at_sites(one: ModelAtSites, measure: str) -> Sequence[str]:
    if one.in_aggregate:
        told = one.all_sites.get(measure)
        return ["not told" if told is None else f"all sites {told.text(measure)}", IN_AGGREGATE]
    return [
        f"{each.site} {each.measures[measure].text(measure)}"
        for each in one.sites
        if measure in each.measures
    ]


class Fairness(Table):
    """How the model does at each site, the worst first by `measure`.

    Attributes
    ----------
    sites
        Those that do not tell the measure come last.
    all_sites
        Over the images of all of them.
    """

    kind: Literal["fairness"] = "fairness"
    measure: str
    sites: Annotated[tuple[SiteFigures, ...], Field(min_length=1)]
    all_sites: dict[str, Told]

    @property
    def lines(self) -> Sequence[str]:
        """For a person."""
        words = MEASURES[self.measure].words
        told = [(each.site, each.measures.get(self.measure)) for each in self.sites]
        told.append(("all sites", self.all_sites.get(self.measure)))
        return [
            f"{site}: {words} {'not told' if one is None else one.text(self.measure)}" for site, one in told
        ]


class Calibration(Table):
    """Whether the model's probabilities can be believed.

    Attributes
    ----------
    dense
        Brier score and calibration error of the probability of dense tissue, over the sites' test images.
    bands
        Lets the model's density bands be called by the readers' word; None forbids it.
    """

    kind: Literal["calibration"] = "calibration"
    dense: dict[str, Told]
    bands: BandCalibration | None

    @property
    def lines(self) -> Sequence[str]:
        """For a person."""
        dense = [
            f"dense tissue: {MEASURES[name].words} {told.text(name)}" for name, told in self.dense.items()
        ]
        return [*dense, f"density bands: {'uncalibrated' if self.bands is None else self.bands.words}"]


class Limits(Table):
    """By what the images that the model is used on are judged."""

    kind: Literal["limits"] = "limits"
    reference: Reference

    @property
    def lines(self) -> Sequence[str]:
        """For a person."""
        appearance, limits = self.reference.appearance, self.reference.density_limits
        return [
            "an image is refused by its outline alone: too few were told of"
            if appearance is None
            else f"an image is refused that is unlike {appearance.num_examples} training images",
            "no limits of agreement of percent density: too few images were told of"
            if limits is None
            else f"95 % of the differences from experts in percent density lie between {limits.lower:+.1f} "
            f"and {limits.upper:+.1f} points, over {limits.num_images} images",
        ]


class Privacy(Table):
    """What became known of the sites' data in the model's run.

    Attributes
    ----------
    coordinator_saw
        `sums` of at least three sites' updates under secure aggregation, or single `updates`.
    guarantees
        Differential privacy in words, a paragraph for each kind of noise; empty is none.
    update_bits, max_update_norm
        How coarse an update was, and how long it could be at most.
    told
        The numbers that sites were asked for.
    in_aggregate
        Whether these were asked for as sums of all sites only.
    """

    kind: Literal["privacy"] = "privacy"
    coordinator_saw: Literal["sums", "updates"]
    guarantees: tuple[str, ...] = ()
    update_bits: int
    max_update_norm: float | None
    num_rounds: int
    num_sites: int
    told: tuple[MetricName, ...]
    in_aggregate: bool = False

    @property
    def lines(self) -> Sequence[str]:
        """For a person."""
        saw = {
            "sums": "sums of updates of several sites, and no single one (secure aggregation)",
            "updates": "each site's updates",
        }[self.coordinator_saw]
        bound = "" if self.max_update_norm is None else f", L2 norm of at most {self.max_update_norm:g}"
        return [
            f"images stayed at {self.num_sites} sites; in {self.num_rounds} rounds the coordinator saw "
            f"{saw}, rounded to {self.update_bits} bits{bound}",
            *(self.guarantees or ["no noise was added: there is no guarantee of differential privacy"]),
            f"sites were asked for: {', '.join(self.told) or 'nothing else'}"
            + (f", {IN_AGGREGATE}" if self.in_aggregate else ""),
        ]


Content = CrossSite | Fairness | Calibration | Limits | Privacy


class Supplement(Table):
    """One supplement.

    Attributes
    ----------
    manifest_sha256
        Of the model that it belongs to.
    made_at
        ISO 8601.
    """

    format: Literal[1] = 1
    model_id: str
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    made_at: str
    content: Annotated[Content, Field(discriminator="kind")]

    @property
    def kind(self) -> SupplementKind:
        """What it tells."""
        return SupplementKind(self.content.kind)

    def signed(self, key: SigningKey) -> bytes:
        """Its file. Raises TrustError where it is larger than an envelope may be."""
        return sign(SUPPLEMENT_TYPE, self.model_dump_json().encode(), key).to_bytes()


def to_json(supplements: Mapping[SupplementKind, Supplement]) -> dict[str, object]:
    """Plain JSON values by kind."""
    return {kind.value: supplements[kind].model_dump(mode="json") for kind in _in_order(supplements)}


def lines_of(
    supplements: Mapping[SupplementKind, Supplement], untold: Mapping[SupplementKind, str]
) -> Sequence[str]:
    """For a person; those that are not there are said, and of `shared.untold.untold` ones why."""
    told = [
        line
        for kind in _in_order(supplements)
        for line in (f"{kind.words}:", *(f"  {each}" for each in supplements[kind].content.lines))
    ]
    missing = [
        f"{kind.words}: {f'not told, {untold[kind]}' if kind in untold else 'not signed yet'}"
        for kind in SupplementKind
        if kind not in supplements
    ]
    return [*told, *missing]


def _in_order(supplements: Mapping[SupplementKind, Supplement]) -> list[SupplementKind]:
    return [kind for kind in SupplementKind if kind in supplements]


def verify_supplement(
    file: bytes,
    kind: SupplementKind,
    manifest_sha256: str,
    key: VerifyKey,
    retired: Sequence[RetiredKey] = (),
) -> Supplement:
    """Verify a supplement: 1. the signature, 2. its form, 3. that it is this model's and of this kind.

    Parameters
    ----------
    key, retired
        As for `shared.package.verify_package`.

    Raises
    ------
    TamperedError
        The signature does not fit.
    TrustError
        Another key signed it, or a key that was retired before; its form is unknown; or it is another's.
    """
    # 1.
    payload, good_until = verify_by_any(Envelope.from_bytes(file), SUPPLEMENT_TYPE, key, retired)
    # 2.
    try:
        supplement = Supplement.model_validate_json(payload)
        made_at = datetime.fromisoformat(supplement.made_at).timestamp()
    except ValueError as error:  # pydantic's own errors are such too
        raise TrustError("A supplement of the model has an unknown form.", "Update mammofed.") from error
    require_signed_in_time(made_at, good_until)
    # 3.
    if (supplement.manifest_sha256, supplement.kind) != (manifest_sha256, kind):
        raise TrustError(
            f"The file '{kind.file}' belongs to another model, or tells something else.",
            "Download the model again; tell the coordinator if it recurs.",
        )
    return supplement
