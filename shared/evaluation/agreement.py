"""Agreement of two ways to measure the same quantity, from their paired moments; calibration from its bins.

Pearson's r: Pearson 1895. Bias and limits of agreement: Bland and Altman, The Lancet 327 (1986). Weighted
kappa: Cohen, Psychological Bulletin 70 (1968); Fleiss and Cohen, Educational and Psychological Measurement 33
(1973). Expected calibration error: Naeini, Cooper and Hauskrecht, AAAI 2015; Guo et al., ICML 2017.
"""

from __future__ import annotations

import math

from shared.evaluation.bounds import Z_95
from shared.evaluation.records import Calibration, Moments, PairedMoments

LEAST_FOR_CORRELATION = 3
"""A line goes through any two points."""


def correlation(pairs: PairedMoments) -> float | None:
    """Pearson's r, in [-1, 1]; None where either side does not vary, and of two images: it is 1 or -1."""
    product = pairs.variance_measured * pairs.variance_expert
    if pairs.num_images < LEAST_FOR_CORRELATION or product <= 0:
        return None
    return max(-1.0, min(1.0, pairs.covariance / math.sqrt(product)))


def differences(pairs: PairedMoments) -> Moments:
    """Moments of measured less expert; the mean is Bland and Altman's bias."""
    variance = pairs.variance_measured + pairs.variance_expert - 2 * pairs.covariance
    return Moments(
        num_images=pairs.num_images,
        mean=pairs.mean_measured - pairs.mean_expert,
        variance=max(0.0, variance),
    )


def absolute_differences(pairs: PairedMoments) -> Moments:
    """Moments of the differences without their sign; the mean is the mean absolute error."""
    signed, error = differences(pairs), pairs.mean_absolute_difference
    squares = signed.variance + signed.mean**2
    return Moments(num_images=pairs.num_images, mean=error, variance=max(0.0, squares - error**2))


def limits_of_agreement(pairs: PairedMoments) -> tuple[float, float] | None:
    """Between which 95 % of the differences are expected if they are normal; None of one image."""
    if pairs.num_images < 2:
        return None
    signed = differences(pairs)
    half = Z_95 * math.sqrt(signed.variance * pairs.num_images / (pairs.num_images - 1))
    return signed.mean - half, signed.mean + half


def quadratic_kappa(pairs: PairedMoments) -> float | None:
    """Cohen's kappa of ordered categories, weighted by squared distance; None where all are in one category.

    Agreement by chance has the mean squared distance of both sides' spreads and means, so that kappa needs no
    table (Fleiss and Cohen 1973).
    """
    by_chance = (
        pairs.variance_measured + pairs.variance_expert + (pairs.mean_measured - pairs.mean_expert) ** 2
    )
    return 2 * pairs.covariance / by_chance if by_chance > 0 else None


def calibration_slope(pairs: PairedMoments) -> float | None:
    """Slope of what an expert says on what a model expects: 1 if calibrated, less if it is too sure.

    The linear form of the second level of calibration, beside the bias (Van Calster et al., BMC Medicine 17,
    2019). None where the model expects the same of all.
    """
    if pairs.variance_measured <= 0:
        return None
    return pairs.covariance / pairs.variance_measured


def calibration_error(calibration: Calibration) -> float | None:
    """Mean distance of probability and frequency over the bins that are told, by share; None of none."""
    told = [each for each in calibration.bins if each is not None]
    total = math.fsum(each.share for each in told)
    if total <= 0:
        return None
    return math.fsum(each.share * abs(each.probability - each.frequency) for each in told) / total
