"""Phantom mammograms of three vendors, with the truth per pixel: input for the demo and the tests.

Procedural and two-dimensional: no calcifications, vessels, folds or implants. A figure measured on
phantoms says that software works, never how well it does on women.
"""

from deploy.demo.phantoms.hospital import WrittenImage, write_hospital
from deploy.demo.phantoms.phantom import Phantom, make_phantom
from deploy.demo.phantoms.vendors import GE, HOLOGIC, SIEMENS, VENDORS, Vendor

__all__ = [
    "GE",
    "HOLOGIC",
    "SIEMENS",
    "VENDORS",
    "Phantom",
    "Vendor",
    "WrittenImage",
    "make_phantom",
    "write_hospital",
]
