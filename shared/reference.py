"""What a published model brings beside its weights, for the judgement of each image that it is used on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.appearance import Appearance
from shared.tables import Table

LEAST_FOR_LIMITS = 20
"""Images without which limits of agreement say more of chance than of the model."""

Points = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class DensityLimits(Table):
    """Limits of agreement (Bland and Altman 1986) of percent density over the test parts of all sites.

    Attributes
    ----------
    lower, upper
        Of measured less expert, in percentage points: 95 % of the differences lie between them.
    num_images
        That they follow from.
    """

    lower: Points
    upper: Points
    num_images: Annotated[int, Field(ge=1)]

    def around(self, percent_density: float) -> tuple[float, float]:
        """Where an expert's value lies beside a measured one, in %: both ends within 0 and 100."""
        ends = percent_density - self.upper, percent_density - self.lower
        return max(0.0, min(100.0, ends[0])), max(0.0, min(100.0, ends[1]))


class Reference(Table):
    """The reference of one model.

    Attributes
    ----------
    appearance
        Of the images that it was trained on; None where too few were told of.
    density_limits
        None where fewer than `LEAST_FOR_LIMITS` images were told of.
    """

    appearance: Appearance | None = None
    density_limits: DensityLimits | None = None

    def to_bytes(self) -> bytes:
        """JSON."""
        return (self.model_dump_json(indent=2) + "\n").encode()
