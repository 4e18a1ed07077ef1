"""The pictures of an audit: what was got back, and how far each attack is from guessing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.privacy_audit.figures import Figure
from bench.privacy_audit.inversion_trials import Image, InversionRow
from bench.privacy_audit.membership import MembershipRow
from bench.privacy_audit.properties import PropertyRow
from bench.privacy_audit.recommending import GUESSED_AREA, GUESSED_CORRELATION, VISIBLE_GAIN
from bench.privacy_audit.settings import PLAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Panel = tuple[Image, str, str, str]
"""A picture, what stands above and below it, and the colour of its frame."""

LEAKS, HOLDS, INK, PALE = "#b2182b", "#2166ac", "#333333", "#888888"
NUM_LEFT = 2
GAP = 0.15
DPI = 120


def draw_inversions(rows: Sequence[InversionRow], file: Path) -> None:
    """Original, guess and single updates at the left, sums at the right; red where the guess is beaten."""
    pyplot = _pyplot()
    original, guess, _ = rows[0].pictures
    left: list[Panel] = [
        (original, "original", "", INK),
        (guess, "guess", f"likeness {rows[0].guess_similarity:.2f}", INK),
        *(_panel(row) for row in rows if row.trial.setting.num_sites == PLAIN),
    ]
    cohorts = sorted({row.trial.setting.num_sites for row in rows} - {PLAIN})
    right = [[_panel(row) for row in rows if row.trial.setting.num_sites == each] for each in cohorts]
    lines = [left[start : start + NUM_LEFT] for start in range(0, len(left), NUM_LEFT)]
    num_rows, num_right = max(len(lines), len(right)), max(map(len, right), default=0)
    figure, axes = pyplot.subplots(
        num_rows,
        NUM_LEFT + 1 + num_right,
        figsize=(1.75 * (NUM_LEFT + num_right), 3.3 * num_rows),
        layout="constrained",
        gridspec_kw={"width_ratios": [1] * NUM_LEFT + [GAP] + [1] * num_right},
        squeeze=False,
    )
    box = _breast(original)
    for axis in axes.ravel():
        axis.set_axis_off()
    for first, block in ((0, lines), (NUM_LEFT + 1, right)):
        for number, line in enumerate(block):
            for place, panel in enumerate(line, start=first):
                _draw_panel(axes[number, place], panel, box)
    figure.savefig(file, dpi=DPI)
    pyplot.close(figure)


def _draw_panel(axes: Axes, panel: Panel, box: tuple[slice, slice]) -> None:
    image, above, below, colour = panel
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.imshow(image[box], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(above, fontsize=9, color=colour)
    axes.set_xlabel(below, fontsize=9, color=colour)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2)


def draw_leaks(memberships: Sequence[MembershipRow], properties: Sequence[PropertyRow], file: Path) -> None:
    """How far membership and density are told under each setting, beside what guessing gives."""
    pyplot = _pyplot()
    height = 1.4 + 0.3 * len(memberships)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, height), layout="constrained", sharey=True)
    settings = [row.setting for row in memberships]
    _draw_points(left, [row.area for row in memberships], guessed=GUESSED_AREA)
    left.set_title("Was this woman there?", fontsize=11, color=INK)
    left.set_xlabel("area under the curve: 0.5 is guessing, 1 is knowing", fontsize=9, color=INK)
    left.set_xlim(0.2, 1.02)
    _draw_points(right, [row.one for row in properties], guessed=GUESSED_CORRELATION)
    right.set_title("How dense are this hospital's women?", fontsize=11, color=INK)
    right.set_xlabel("correlation of what is read and what is true: 0 is guessing", fontsize=9, color=INK)
    right.set_xlim(-0.75, 1.05)
    left.set_yticks(range(len(settings)), [setting.words for setting in settings], fontsize=9)
    left.invert_yaxis()
    figure.savefig(file, dpi=DPI)
    pyplot.close(figure)


def _draw_points(axes: Axes, found: Sequence[Figure], *, guessed: float) -> None:
    axes.axvline(guessed, color=PALE, linewidth=1, linestyle="--")
    for place, each in enumerate(found):
        colour = LEAKS if each.low > guessed else HOLDS
        axes.plot([each.low, each.high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([each.value], [place], "o", color=colour, markersize=6)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _panel(row: InversionRow) -> Panel:
    setting, noise = row.trial.setting, row.trial.setting.noise_multiplier
    if setting.num_sites == PLAIN:
        sent = "bare gradient" if row.trial.sent == "gradient" else "single update"
        above = f"{sent}\n{row.trial.start} weights"
    else:
        above = f"sum of {setting.num_sites}\n{f'noise {noise:g}' if noise else 'no noise'}"
    colour = LEAKS if row.gain[1] >= VISIBLE_GAIN else HOLDS
    return row.pictures[2], above, f"likeness {row.similarity:.2f}", colour


def _breast(image: Image) -> tuple[slice, slice]:
    """Rows and columns that a picture takes of the network's input."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
