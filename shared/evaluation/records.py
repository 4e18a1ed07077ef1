"""What a site tells of an evaluation: statistics over its images, never a value of one of them.

They are sufficient: from those of several sites follow, exactly, the mean, the spread, Pearson's r, the mean
absolute error and the limits of agreement over all images (`shared.evaluation.pooling`). Means and variances
stand where sums would do as well, because a sum beside its mean gives away a count that was rounded.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.plan import METRIC_NAMES, MetricName
from shared.tables import Table

NUM_BINS = 10
"""Of a reliability diagram, all of one width."""

Number = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Interval = tuple[Number, Number]
"""Lower and upper end of a 95 % interval."""


class Moments(Table):
    """One value of each of several images.

    Attributes
    ----------
    num_images
        Images that have the value; rounded down as the site's policy says.
    mean, variance
        The variance is the mean squared deviation from the mean.
    interval
        Of the mean; None where it was not estimated.
    """

    num_images: Count
    mean: Number
    variance: NotNegative
    interval: Interval | None = None


class PairedMoments(Table):
    """One quantity of each of several images, as the model measures it and as an expert does.

    Attributes
    ----------
    num_images
        Images that have both; rounded down as the site's policy says.
    variance_measured, variance_expert, covariance
        Mean squared deviations from the means, and the mean product of both deviations.
    mean_absolute_difference
        Mean of the difference without its sign.
    """

    num_images: Count
    mean_measured: Number
    mean_expert: Number
    variance_measured: NotNegative
    variance_expert: NotNegative
    covariance: Number
    mean_absolute_difference: NotNegative


class SegmentMoments(Table):
    """One measure of each segment; None where too few images have it."""

    dense: Moments | None
    breast: Moments | None
    pectoral: Moments | None


class SurfaceDistances(Table):
    """Hausdorff distances between the outlines: the 95th percentile, and the maximum."""

    percentile_95: SegmentMoments | None
    maximum: SegmentMoments | None


class Hausdorff(Table):
    """Distances in mm where the spacing is known, in pixels of the network's input for the other images."""

    mm: SurfaceDistances | None
    px: SurfaceDistances | None


class PercentDensity(PairedMoments):
    """Percent density, with 95 % intervals of Pearson's r, the mean absolute error and the bias."""

    correlation_interval: Interval | None = None
    error_interval: Interval | None = None
    bias_interval: Interval | None = None


class Proportion(Table):
    """Of how many images something is true.

    Attributes
    ----------
    num_in_rarest
        Images of which it is true, or of which it is not: the fewer, of those that occur.
    interval
        95 % interval of the share.
    """

    num_images: Count
    num_in_rarest: Count
    share: Share
    interval: Interval | None = None


class ExpectedBand(PairedMoments):
    """The mean of a model's places 0 (a) to 3 (d), by their probabilities, beside the reader's place.

    Attributes
    ----------
    bias_interval, slope_interval
        95 % intervals of what `differences` and `calibration_slope` make of it.
    """

    bias_interval: Interval | None = None
    slope_interval: Interval | None = None


class DensityCategories(PairedMoments):
    """A model's density bands beside a reader's categories, both from 0 (a) to 3 (d).

    The last three are of models that give probabilities.

    Attributes
    ----------
    num_in_rarest
        Images in the band or category that has the fewest, of those that occur; rounded down likewise. The
        moments give away how many each has.
    kappa_interval
        95 % interval of the quadratic kappa.
    agreement
        Images whose band is the reader's category.
    second_read
        Images whose band is borderline.
    ranked_probability
        Ranked probability score of each image, in [0, 1].
    """

    num_in_rarest: Count
    kappa_interval: Interval | None = None
    agreement: Proportion | None = None
    second_read: Proportion | None = None
    ranked_probability: Moments | None = None
    expected: ExpectedBand | None = None


class ReliabilityBin(Table):
    """The pixels whose probability of being dense lies in one bin; images count alike.

    Attributes
    ----------
    num_images
        Images that have such pixels; rounded down as the site's policy says.
    share
        Of all pixels, those of images without any in this bin included.
    probability
        Mean of what the model says.
    frequency
        Share of them that is dense by the expert's mask.
    """

    num_images: Count
    share: Share
    probability: Share
    frequency: Share


class Calibration(Moments):
    """The Brier score of each image, over the pixels of the expert's breast, and a reliability diagram.

    Attributes
    ----------
    bins
        Of the probability from 0 to 1, all of one width; None where too few images have pixels.
    """

    bins: Annotated[tuple[ReliabilityBin | None, ...], Field(min_length=NUM_BINS, max_length=NUM_BINS)]


class Evaluation(Table):
    """How well a model does on one part of a site's examples.

    Each attribute but the first is named as the metric of the plan that asks for it, and is None where it was
    not asked for, or where too few images have it.

    Attributes
    ----------
    num_examples
        Images evaluated; rounded down as the site's policy says.
    loss
        Training loss of each image, without augmentation.
    dice
        Overlap with the expert's segments.
    """

    num_examples: Count
    loss: Moments | None = None
    dice: SegmentMoments | None = None
    hausdorff: Hausdorff | None = None
    percent_density: PercentDensity | None = None
    density_categories: DensityCategories | None = None
    calibration: Calibration | None = None


EVALUATED: tuple[MetricName, ...] = tuple(name for name in METRIC_NAMES if name in Evaluation.model_fields)
"""The metrics that an `Evaluation` tells."""
