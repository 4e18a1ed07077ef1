"""Three makers' looks: how the processed image becomes stored values, and what the header says of it.

The makers are imitated, not copied: stored ranges, polarity, look-up tables and header habits differ in
the ways that trouble software reading real files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from deploy.demo.phantoms.fields import FloatImage

BITS_STORED = 12
INVERTED_AIR = 3044
"""Stored value of air where bright tissue is stored as low values (MONOCHROME1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A maker of mammography units.

    Attributes
    ----------
    native_spacing_mm
        Pixel pitch of the detector.
    photometric
        MONOCHROME1 stores bright tissue as low values.
    gain, gamma
        Of the processing: `stored = foot + span * gain * shown ** gamma`.
    foot, span
        Stored value of air before any inversion, and distance to the brightest tissue at gain 1.
    voi
        How the header asks to be displayed: a sigmoid or linear window, or look-up tables and a sigmoid.
    padding
        First and last stored value of the collimated border, or None without one.
    code_scheme
        Coding scheme of the view codes: SNM3 in older software, SCT in newer.
    field_mm
        Height and width of the image.
    transfer_syntax
        Lossless encoding of the file.
    """

    name: Literal["hologic", "ge", "siemens"]
    manufacturer: str
    model: str
    software: str
    native_spacing_mm: float
    photometric: Literal["MONOCHROME1", "MONOCHROME2"]
    gain: float
    gamma: float
    foot: int
    span: int
    voi: Literal["sigmoid", "linear", "tables"]
    padding: tuple[int, int] | None
    code_scheme: Literal["SNM3", "SCT"]
    detector: Literal["DIRECT", "SCINTILLATOR"]
    field_mm: tuple[float, float]
    transfer_syntax: UID

    @property
    def window(self) -> tuple[int, int]:
        """Centre and width of the display window, in stored values."""
        reach = self.span * self.gain
        middle, extent = (0.45, 0.9) if self.voi == "linear" else (0.48, 0.65)
        centre = round(self.foot + middle * reach)
        if self.photometric == "MONOCHROME1":
            centre = INVERTED_AIR - centre
        return centre, round(extent * reach)

    def store(self, shown_HW: FloatImage) -> npt.NDArray[np.uint16]:
        """Stored values (uint16) of a processed image whose values run from 0, air, to 1."""
        values = self.foot + np.rint(self.span * self.gain * shown_HW**self.gamma)
        if self.photometric == "MONOCHROME1":
            values = INVERTED_AIR - values
        stored_HW: npt.NDArray[np.uint16] = np.clip(values, 0, 2**BITS_STORED - 1).astype(np.uint16)
        return stored_HW


HOLOGIC = Vendor(
    name="hologic",
    manufacturer="HOLOGIC, Inc.",
    model="Selenia Dimensions",
    software="AWS:PHANTOM_1_8",
    native_spacing_mm=0.070,
    photometric="MONOCHROME1",
    gain=1.0,
    gamma=1.0,
    foot=0,
    span=2400,
    voi="sigmoid",
    padding=(INVERTED_AIR, 3204),
    code_scheme="SNM3",
    detector="DIRECT",
    field_mm=(256.0, 192.0),
    transfer_syntax=JPEG2000Lossless,
)
GE = Vendor(
    name="ge",
    manufacturer="GE MEDICAL SYSTEMS",
    model="Senographe Essential VERSION ADS_PHANTOM",
    software="ADS Application Package PHANTOM",
    native_spacing_mm=0.094,
    photometric="MONOCHROME2",
    gain=1.35,
    gamma=0.8,
    foot=0,
    span=2800,
    voi="tables",
    padding=None,
    code_scheme="SNM3",
    detector="SCINTILLATOR",
    field_mm=(256.0, 200.0),
    transfer_syntax=ExplicitVRLittleEndian,
)
SIEMENS = Vendor(
    name="siemens",
    manufacturer="SIEMENS",
    model="Mammomat Inspiration",
    software="VB30 PHANTOM",
    native_spacing_mm=0.085,
    photometric="MONOCHROME2",
    gain=0.85,
    gamma=1.25,
    foot=50,
    span=3600,
    voi="linear",
    padding=None,
    code_scheme="SCT",
    detector="DIRECT",
    field_mm=(264.0, 180.0),
    transfer_syntax=ImplicitVRLittleEndian,
)
VENDORS: dict[str, Vendor] = {vendor.name: vendor for vendor in (HOLOGIC, GE, SIEMENS)}
