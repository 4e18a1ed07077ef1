"""What several sites tell together, where none of them tells it alone."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.appearance import Appearance
from shared.evaluation.records import Evaluation
from shared.tables import Table

LEAST_TELLING = 2
"""Sites that tell a statistic, without which it is one site's and is not read."""


class Together(Table):
    """Metrics over all sites of one sum; what fewer than two of them tell is None.

    Attributes
    ----------
    train_loss
        Mean over sites, weighted by training examples.
    evaluation
        Over the images of all, with intervals as `shared.evaluation.pooling` makes them.
    num_with_bands
        Sites that tell of density bands with probabilities.
    appearance
        Of the training images of all.
    """

    train_loss: Annotated[float, Field(allow_inf_nan=False)] | None = None
    evaluation: Evaluation | None = None
    num_with_bands: Annotated[int, Field(ge=0)] = 0
    appearance: Appearance | None = None
