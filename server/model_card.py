"""The model card: what the model is for, what it was trained on, how well it does, and its limits."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from server.learning_curves import Lines
from server.measure_tables import EXPLANATION, MeasureTable, measure_tables
from server.summary import RunSummary, SitePart
from shared.band_calibration import BandCalibration
from shared.evaluation.measures import MEASURES, PER_ROUND
from shared.masking.site_noise import epsilon_of_a_site
from shared.plan import PatientNoisePlan, Plan
from shared.reference import Reference

OF_SITES = "dice_dense"
"""The measure that is shown of every site in every round."""


def write_model_card(
    model_id: str,
    summary: RunSummary,
    lines: Lines,
    plan: Plan,
    reference: Reference,
    *,
    created_at: str,
    software: str,
    calibration: BandCalibration | None,
) -> str:
    """The card as Markdown."""
    return "\n".join(
        [
            f"# {model_id}",
            "",
            "Segments the breast, the pectoral muscle and dense (fibroglandular) tissue on mammograms, from",
            "which percent density follows: dense area / breast area without pectoral, in %.",
            "",
            "**Research use only. Not a diagnostic device.**",
            "",
            "| | |",
            "| --- | --- |",
            f"| Created | {created_at} |",
            f"| Run | {summary.run.run_id} |",
            f"| Plan (SHA-256) | `{summary.run.plan_sha256}` |",
            f"| Network | {plan.model.network}, {plan.model.words}, input {plan.model.input_height_px} x "
            f"{plan.model.input_width_px} px |",
            *_start_row(plan),
            f"| Density bands | {_bands(plan, calibration)} |",
            f"| Rounds | {summary.num_finished} of {summary.num_rounds} |",
            f"| Software | {software} |",
            "",
            "## Training data",
            "",
            "Images stayed at the sites. Counts are those of the last round.",
            "",
            "| Site | Training examples |",
            "| --- | ---: |",
            *[_count_row(part) for part in summary.parts],
            "",
            "## How well it does",
            "",
            "On each site's test part, which was used for nothing else.",
            *textwrap.wrap(EXPLANATION, 100),
            "",
            *[line for table in measure_tables(summary.test) for line in _measure_table(table)],
            "## Per round",
            "",
            "The training loss is the mean over the sites, by their training examples. All else is of the",
            "model that the round began with, on the validation parts.",
            "",
            *_round_table(summary, lines),
            "",
            "All measures per site and round: `metrics.json`. Picture: `learning_curves.png`.",
            "",
            *_privacy(summary, plan),
            "## Limits",
            "",
            "- Research use; no clinical decision may rest on it.",
            "- Measures CC and MLO views of whole breasts without implants. " + _refused(reference),
            "- Trained and tested at the sites above only; other vendors and readers may differ.",
            f"- The coordinator saw {_seen(plan)} and the metrics above.",
            "",
        ]
    )


def _seen(plan: Plan) -> str:
    return "the sum of the sites' weight updates alone" if plan.is_masked else "each site's weight update"


def _privacy(summary: RunSummary, plan: Plan) -> list[str]:
    """What the weights can tell of one patient at most, where noise bounds it."""
    if not plan.privacy.is_noisy:
        return []
    words = [_patients_privacy(summary, plan.privacy.patient_noise), _sites_privacy(summary, plan)]
    paragraphs = [["", *textwrap.wrap(each, 100)] for each in words if each]
    return ["## Privacy", *[line for paragraph in paragraphs for line in paragraph], ""]


def _patients_privacy(summary: RunSummary, noise: PatientNoisePlan | None) -> str:
    if noise is None:
        return ""
    told = [part.epsilon for part in summary.parts if part.epsilon is not None]
    return (
        f"Differential privacy of a patient: epsilon {max(told, default=math.nan):.2f} at most (the largest "
        f"that a site tells of this run), delta {noise.delta:g}, at each site for itself. DP-SGD with noise "
        f"of {noise.multiplier:g} times the bound of {noise.gradient_norm:g}; the unit is a patient with all "
        "her images in a site's training part. Composed as privacy loss distributions over all steps; "
        "Poisson sampling, neighbours by one patient more or less. Not covered: how many examples and "
        "patients a site has, that and when it took part, how long it computed, patients of whom two sites "
        "have images, other runs on the same patients, and whoever chose this model among others."
    )


def _sites_privacy(summary: RunSummary, plan: Plan) -> str:
    noise = plan.privacy.site_noise
    if noise is None:
        return ""
    epsilon = epsilon_of_a_site(summary.num_finished, multiplier=noise.multiplier, delta=noise.delta)
    return (
        f"Differential privacy of a site: epsilon {epsilon:.2f} at most over the {summary.num_finished} "
        f"rounds of this run, delta {noise.delta:g}. Skellam noise of {noise.multiplier:g} times what one "
        "site can move, added by the sites under their masks; the unit is a site with all its patients. It "
        f"holds while {plan.privacy.colluding_sites} sites at most help the coordinator. Composed by Renyi "
        "divergences; neighbours by one site more or less. Not covered: that and when a site took part, how "
        "long it computed, runs before this one, and whoever chose this model among others."
    )


def _measure_table(table: MeasureTable) -> list[str]:
    alignment = ["---", *["---:"] * (len(table.head) - 1)]
    return [f"### {table.title}", "", *_markdown([table.head, alignment, *table.rows]), ""]


def _start_row(plan: Plan) -> list[str]:
    """From what the run started, if not from weights that were drawn."""
    if plan.extends:
        began = f"the final weights of {plan.extends[-1]}, and so from its training data as well"
    elif plan.initial_weights:
        began = "weights that the coordinator gave; their training data are not listed here"
    else:
        return []
    return [f"| Started from | {began} (SHA-256 `{plan.initial_weights}`) |"]


def _bands(plan: Plan, calibration: BandCalibration | None) -> str:
    """How the bands are found, and whether they are calibrated."""
    if calibration is not None:
        return calibration.words
    if plan.model.density_band is None:
        return "uncalibrated: cut-points of percent density that nobody has fitted"
    sources = {"readers": "readers' categories", "simulated": "simulated categories, not readers'"}
    return f"uncalibrated: learnt from {sources[plan.model.density_band]}"


def _refused(reference: Reference) -> str:
    """Which other images are refused."""
    if reference.appearance is None:
        return "An image is refused by its outline alone: too few were told of."
    return f"An image is refused that is unlike {reference.appearance.num_examples} training images."


def _round_table(summary: RunSummary, lines: Lines) -> list[str]:
    head = [
        "Round",
        "Sites counted / asked",
        "Training loss",
        *[MEASURES[name].words for name in PER_ROUND],
        *[f"{MEASURES[OF_SITES].words}, {site}" for site in lines],
    ]
    rows = [
        [
            str(one.number),
            f"{one.num_admitted} / {one.num_asked}",
            _number(one.train_loss),
            *[_shown(name, one.value(name)) for name in PER_ROUND],
            *[_shown(OF_SITES, told.get(one.number, {}).get(OF_SITES)) for told in lines.values()],
        ]
        for one in summary.rounds
    ]
    return _markdown([head, ["---:"] * len(head), *rows])


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in rows]


def _count_row(part: SitePart) -> str:
    return f"| {part.site} | {part.num_examples if part.num_examples is not None else 'not counted'} |"


def _shown(measure: str, value: float | None) -> str:
    return _number(value, MEASURES[measure].decimals)


def _number(value: float | None, decimals: int = 3) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
