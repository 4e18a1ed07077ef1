"""Settings of what is suggested after a measurement."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from client.followup.bcsc import Baseline
from shared.tables import Table


class FollowUpSettings(Table):
    """Table `[follow_up]` of `site.toml`; nothing is ever suggested without it.

    Attributes
    ----------
    mri, contrast_mammography, ultrasound
        What the hospital has beside mammography.
    min_risk_percent
        Five-year risk from which a dense breast is followed up by ultrasound.
    polygenic
        Whether a polygenic score changes the risk: experimental, made for European ancestry.
    baseline
        Of the risk model; there is none for Europe.
    recalibration
        The incidence here over that of the baseline (United States, 1998 to 2002), from the site's registry.
    """

    mri: bool = False
    contrast_mammography: bool = False
    ultrasound: bool = False
    min_risk_percent: Annotated[float, Field(gt=0, le=100)] = 1.67
    polygenic: bool = False
    baseline: Annotated[Baseline, Field(strict=False)] = Baseline.WHITE
    recalibration: Annotated[float, Field(gt=0, le=10)] = 1.0
