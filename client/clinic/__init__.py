"""Measuring in the clinic: exams, what the archive gets of them, and the DICOM node that does it unasked."""
