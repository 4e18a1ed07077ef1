"""Density bands a (fatty) to d (dense): their names, and where they lie before any calibration."""

from __future__ import annotations

from typing import Literal, get_args

Band = Literal["a", "b", "c", "d"]
BANDS: tuple[Band, ...] = get_args(Band)

CUT_POINTS_PERCENT = (8.0, 22.0, 45.0)
"""Lower ends of the bands b, c and d in percent density by area.

Uncalibrated: BI-RADS (5th edition) defines its categories by eye and by masking, without cut-points, and
the quartiles of the 4th edition do not fit areas measured by machine. These are starting values until they
are fitted to readers' categories; a band is no BI-RADS category.
"""
