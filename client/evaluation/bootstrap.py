"""Intervals by resampling (Efron, Annals of Statistics 7, 1979): of patients, whose images are alike.

Drawn at the site, whose images are here, and told as two ends only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from shared.evaluation.records import Interval

Values = npt.NDArray[np.float64]

NUM_RESAMPLES = 1000
ENDS_PERCENT = (2.5, 97.5)
MIN_PATIENTS = 5
"""Of fewer, the ends come near to the values of single ones."""
DECIMALS = 3
"""To which ends are told: exactly, each would be an equation in the values of single images."""


class Resampling:
    """The patients of one part of a site's examples, drawn again and again with replacement.

    Parameters
    ----------
    patients
        Whose each image is; any names.
    seed
        The same gives the same intervals.
    """

    def __init__(self, patients: Sequence[str], seed: int) -> None:
        names, self._patient_of_image = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        random = np.random.default_rng(seed)
        self._num_patients = len(names)
        self._times = random.multinomial(
            len(names), np.full(len(names), 1 / max(1, len(names))), size=NUM_RESAMPLES
        ).astype(np.float64)

    def interval(
        self, has_value: npt.NDArray[np.bool_], values: Values, statistic: Callable[[Values], Values]
    ) -> Interval | None:
        """95 % percentile interval of a statistic of means.

        Parameters
        ----------
        has_value
            Which images have the values.
        values
            Of these images, a column for each quantity.
        statistic
            From the quantities' means, a row for each resample, to the statistic, NaN where it has none.

        Returns
        -------
        Interval or None
            None for fewer than `MIN_PATIENTS` patients, or if the statistic is rarely defined.
        """
        patients = self._patient_of_image[has_value]
        if len(np.unique(patients)) < MIN_PATIENTS:
            return None
        # Sums and counts of each patient first: images come in once, however many resamples there are.
        sums = np.zeros((self._num_patients, values.shape[1]))
        np.add.at(sums, patients, values)
        counts = self._times @ np.bincount(patients, minlength=self._num_patients)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = statistic(self._times @ sums / counts[:, None])
        defined = drawn[np.isfinite(drawn)]
        if len(defined) < NUM_RESAMPLES / 2:
            return None
        low, high = np.percentile(defined, ENDS_PERCENT)
        return round(float(low), DECIMALS), round(float(high), DECIMALS)
