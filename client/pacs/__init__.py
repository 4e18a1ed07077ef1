"""The hospital's archives: asking for mammograms and fetching them, over DICOM and over DICOMweb.

`archive.Archive` is what both are to others. `fetching` holds what they share: what is fetched, what is not,
and how a broken line is outlasted.
"""
