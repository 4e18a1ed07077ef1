"""Whether an image is like those that a model was trained on; one that is not is not measured.

Two looks, both at the prepared picture and before the network sees it:

1. its outline, which every whole CC or MLO view keeps to, whatever the model;
2. its grey values and texture, as far from those of the training images as the package's reference says.

The second is simpler than distances between a network's features (Lee et al., NeurIPS 2018), needs no second
pass through the network, and tells what stands out. `bench/familiarity.py` has what both find and miss.
"""

from __future__ import annotations

import numpy as np
from scipy.special import fdtri

from client.imaging.appearance import appearance_of, outline_of
from client.imaging.preparation import PreparedImage
from shared.appearance import ONE_IN, QUANTITIES, Appearance, Vector
from shared.errors import UnfamiliarError

SMALLEST_VARIANCE = 1e-8
"""Of a quantity that hardly varies; its square root is far below what any two mammograms differ by."""

WORDS = {
    "grey": "its grey values",
    "bright": "how much of it is bright",
    "dark": "how much of it is dark",
    "depth": "its brightness from the skin inwards",
    "texture": "its texture",
    "gradient": "its sharpness",
    "unevenness": "its sharp edges",
    "direction": "the direction of its texture",
    "filled": "its outline",
    "solidity": "its outline",
    "proportions": "its proportions",
}
"""What stands out, by the first word of a quantity."""

HINT = "Density is not measured on it: have a reader assess it, and check that it is a whole CC or MLO view."


def insist_on_familiar(prepared: PreparedImage, reference: Appearance | None) -> None:
    """Return only if a prepared picture may be measured.

    Parameters
    ----------
    reference
        Of the images that the model was trained on; without one only the outline is looked at.

    Raises
    ------
    UnfamiliarError
        It is unlike them, or no whole breast at its chest wall.
    """
    # 1.
    fault = outline_of(prepared.image_HW).fault()
    if fault is not None:
        raise UnfamiliarError(fault, HINT)
    # 2.
    if reference is not None:
        values_Q = appearance_of(prepared.image_HW)
        if distance(values_Q, reference) > 1:
            raise UnfamiliarError(
                "The image is unlike those that the model was trained on, most of all in "
                f"{what_stands_out(values_Q, reference)}.",
                HINT,
            )


def distance(values_Q: Vector, reference: Appearance) -> float:
    """Hotelling's T-squared of one image, as a share of what one training image in a thousand exceeds."""
    n, p = reference.num_examples, len(QUANTITIES)
    limit = p * (n * n - 1) / (n * (n - p)) * fdtri(p, n - p, 1 - 1 / ONE_IN)
    scaled_Q, correlation_QQ = _scaled(values_Q, reference)
    return float(scaled_Q @ np.linalg.pinv(correlation_QQ, hermitian=True) @ scaled_Q / limit)


def what_stands_out(values_Q: Vector, reference: Appearance) -> str:
    """The quantity furthest from its mean, in words."""
    scaled_Q, _ = _scaled(values_Q, reference)
    return WORDS[QUANTITIES[int(np.abs(scaled_Q).argmax())].partition("_")[0]]


def _scaled(values_Q: Vector, reference: Appearance) -> tuple[Vector, Vector]:
    """Quantities in standard deviations from their means, and the correlations."""
    covariance_QQ = reference.covariance_matrix()
    spread_Q = np.sqrt(np.maximum(np.diag(covariance_QQ), SMALLEST_VARIANCE))
    correlation_QQ = covariance_QQ / np.outer(spread_Q, spread_Q)
    np.fill_diagonal(correlation_QQ, 1.0)
    return (values_Q - np.array(reference.mean)) / spread_Q, correlation_QQ
