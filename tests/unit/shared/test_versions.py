"""Which versions work together."""

from __future__ import annotations

import pytest

from shared.versions import Fit, fit


@pytest.mark.parametrize(
    ("own", "other", "found"),
    [
        ("0.4.0", "0.4.7", Fit.SAME),
        ("0.4.0", "0.5.0", Fit.NEIGHBOUR),
        ("0.5.0", "0.4.9", Fit.NEIGHBOUR),
        ("1.4", "1.5.0rc1", Fit.NEIGHBOUR),
        ("0.4.0", "0.6.0", Fit.APART),
        ("0.9.0", "1.0.0", Fit.APART),
        ("1.0.0", "2.0.0", Fit.APART),
        ("0.4.0", "", Fit.UNKNOWN),
        ("0.4.0", "latest", Fit.UNKNOWN),
        ("0.4.0", "0.4.0\nINFO forged", Fit.UNKNOWN),
    ],
)
def test_neighbours_in_minor_version_work_together(own: str, other: str, found: Fit) -> None:
    assert fit(own, other) is found
    assert found.is_good is (found is not Fit.APART)
