"""An ordinal head for density bands, on percent density and on what the network sees.

The proportional-odds model (McCullagh, J R Stat Soc B 42:109, 1980): how likely a reader's category lies
above each of a, b and c follows from one score and three cut-points. The score is percent density on a
logarithmic scale, as the network itself measures it, plus a weighted sum of its coarsest features, averaged
over the breast: over the whole image instance norms have made each of them nearly the same.

All weights of the head are deviations from where it starts, and start at zero: percent density alone, with
the cut-points of `shared.bands` and a fixed sharpness. What the head learns changes nothing of the network:
sites without masks could otherwise move its segments. Cut-points and sharpness are what a calibration finds;
they are fitted by the likelihood of readers' categories, on the sites' own images, and averaged as all
weights are.

Axes: N images, C channels, B bands, K thresholds between bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.bands import BANDS, CUT_POINTS_PERCENT, Band

UNKNOWN_BAND = -1
SHARPNESS = 4.0
"""How fast one band gives way to the next along the logarithm of percent density."""
LEAST_GAP = 0.01
"""Between cut-points, on the score's scale."""
GAIN = 10.0
"""Of deviations: under one learning rate the head then moves as fast as the network."""
LEAST_BREAST = 1e-3
"""Share of an image; of less, there are no features."""
SECOND_READ_BELOW = 2 / 3
"""A band that is less likely than this is borderline."""


class DensityBandHead(nn.Module):
    """How likely a band lies above each of a, b and c."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.feature_weights_C = nn.Parameter(torch.zeros(num_features))
        self.cut_points_K = nn.Parameter(torch.zeros(len(BANDS) - 1))
        self.sharpness = nn.Parameter(torch.zeros(1))

    def forward(self, percent_density_N: Tensor, features_NC11: Tensor) -> Tensor:
        """Logits, float32 NK11, falling along K.

        Parameters
        ----------
        percent_density_N
            Of each image, in %.
        features_NC11
            As pooled by `pool_features`; one channel more than there are features.
        """
        pooled_NC = features_NC11[:, :, 0, 0].float()
        in_breast_NC = pooled_NC[:, :-1] / pooled_NC[:, -1:].clamp(min=LEAST_BREAST)
        features_NC = functional.layer_norm(in_breast_NC, in_breast_NC.shape[1:])
        # Products of elements, which keep their precision where matrices are multiplied in half of it.
        weights_C = GAIN / math.sqrt(features_NC.shape[1]) * self.feature_weights_C
        seen_N = (features_NC * weights_C).sum(dim=1)
        score_N = torch.log1p(percent_density_N.float()) + seen_N
        steepness = SHARPNESS * torch.exp(GAIN * self.sharpness)
        return (steepness * (score_N[:, None] - self._cut_points()))[:, :, None, None]

    def _cut_points(self) -> Tensor:
        """On the scale of the score, rising, K."""
        first, *gaps = _starts()
        deviations_K = GAIN * self.cut_points_K
        # Softplus keeps them apart whatever is learnt.
        raised = deviations_K.new_tensor([math.log(math.expm1(gap - LEAST_GAP)) for gap in gaps])
        apart = LEAST_GAP + functional.softplus(raised + deviations_K[1:])
        return torch.cumsum(torch.cat([first + deviations_K[:1], apart]), dim=0)


def pool_features(coarsest_NCHW: Tensor, breast_NHW: Tensor) -> Tensor:
    """Features within the breast, and the share of it as a last channel, averaged over each image: NC11.

    Means over windows of an image may be averaged again: the head divides by the share in the end.
    """
    rows, columns = coarsest_NCHW.shape[2:]
    breast_N1HW = functional.adaptive_avg_pool2d(breast_NHW[:, None].float(), (rows, columns))
    weighed_NCHW = torch.cat([coarsest_NCHW * breast_N1HW, breast_N1HW], dim=1)
    return weighed_NCHW.mean(dim=(2, 3), keepdim=True)


def log_probabilities(band_NK11: Tensor) -> Tensor:
    """The logarithm of how likely each band is, float32 N x B."""
    above_NK = functional.pad(band_NK11[:, :, 0, 0].float(), (1, 0), value=torch.inf)
    # Band b lies above b thresholds and not above the next: s(x) - s(y) = s(x) s(-y) (1 - exp(y - x)).
    beyond_NK = functional.pad(band_NK11[:, :, 0, 0].float(), (0, 1), value=-torch.inf)
    return (
        functional.logsigmoid(above_NK)
        + functional.logsigmoid(-beyond_NK)
        + torch.log(-torch.expm1(beyond_NK - above_NK))
    )


def band_loss(band_NK11: Tensor, band_N: Tensor) -> Tensor:
    """Mean over the images whose reader's category is known of its negative log-likelihood; else 0.

    Parameters
    ----------
    band_N
        int64, a place in `BANDS` or `UNKNOWN_BAND`.
    """
    known_N = band_N != UNKNOWN_BAND
    chosen_N1 = band_N.clamp(min=0)[:, None]
    loss_N = -log_probabilities(band_NK11).gather(1, chosen_N1)[:, 0]
    return (loss_N * known_N).sum() / known_N.sum().clamp(min=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityBand:
    """What the head says of one image.

    Attributes
    ----------
    probabilities
        Of each of `BANDS`; they sum to 1.
    """

    probabilities: tuple[float, ...]

    @property
    def band(self) -> Band:
        """The likeliest."""
        return BANDS[self.probabilities.index(max(self.probabilities))]

    @property
    def is_borderline(self) -> bool:
        """It is not likely enough: somebody should read the image a second time."""
        return max(self.probabilities) < SECOND_READ_BELOW

    @property
    def expected_place(self) -> float:
        """The mean of the places 0 (a) to 3 (d), by their probabilities."""
        return sum(place * probability for place, probability in enumerate(self.probabilities))

    def ranked_probability_score(self, category: Band) -> float:
        """Mean squared error of how likely the category lies above each of a, b and c; 0 is perfect, 1 worst.

        Epstein, Journal of Applied Meteorology 8:985, 1969; divided by the number of thresholds.
        """
        place, thresholds = BANDS.index(category), range(1, len(BANDS))
        errors = (sum(self.probabilities[above:]) - (place >= above) for above in thresholds)
        return sum(error**2 for error in errors) / len(thresholds)


def bands_of(band_NK11: Tensor) -> list[DensityBand]:
    """What the head says of each image of a batch."""
    return [DensityBand(probabilities=tuple(row)) for row in log_probabilities(band_NK11).exp().tolist()]


def _starts() -> list[float]:
    """The first cut-point, and how far each of the next lies from the one before it, on the score's scale."""
    cuts = [math.log1p(cut) for cut in CUT_POINTS_PERCENT]
    return [cuts[0], *(later - earlier for earlier, later in pairwise(cuts))]
