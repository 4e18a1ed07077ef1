"""The model card: what the model is for, what it was trained on, how well it does, and its limits."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from server.learning_curves import Lines
from server.summary import RunSummary, SitePart
from shared.evaluation.measures import IN_AGGREGATE, MEASURES, PER_ROUND
from shared.plan import Plan
from shared.supplements import SupplementKind
from shared.untold import untold

OF_SITES = "dice_dense"
"""The measure that is shown of every site in every round."""


def write_model_card(
    model_id: str,
    summary: RunSummary,
    lines: Lines,
    plan: Plan,
    *,
    privacy: Sequence[str],
    created_at: str,
    software: str,
) -> str:
    """The card as Markdown, as the model is published: its evaluation comes after it.

    Parameters
    ----------
    privacy
        Paragraphs on what noise bounds (`server.guarantees`).
    """
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
            f"| Density bands | {_bands(plan)} |",
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
            "What its evaluation shows on the sites' test parts, which were used for nothing else, was not",
            "known when this was signed. It stands in signed supplements beside this file,",
            "`supplement_*.json`; `mammofed-coordinator model show` tells them.",
            *_untold(plan),
            "",
            "## Per round",
            "",
            "The training loss is the mean over the sites, by their training examples. All else is of the",
            "model that the round began with, on the validation parts.",
            "",
            *_round_table(summary, {} if plan.tells_in_aggregate else lines),
            "",
            *_of_sites(plan),
            "All measures per site and round: `metrics.json`. Picture: `learning_curves.png`.",
            "",
            *_privacy(privacy),
            "## Limits",
            "",
            "- Research use; no clinical decision may rest on it.",
            f"- Measures CC and MLO views of whole breasts without implants; {_refused(plan)}",
            "- Trained and tested at the sites above only; other vendors and readers may differ.",
            f"- The coordinator saw {_seen(plan)} and the metrics above.",
            "",
        ]
    )


def _of_sites(plan: Plan) -> list[str]:
    if not plan.tells_in_aggregate:
        return []
    return [f"Of single sites nothing is known: the plan lets metrics out {IN_AGGREGATE}.", ""]


def _privacy(guarantees: Sequence[str]) -> list[str]:
    paragraphs = [["", *textwrap.wrap(each, 100)] for each in guarantees]
    return ["## Privacy", *[line for each in paragraphs for line in each], ""] if paragraphs else []


def _start_row(plan: Plan) -> list[str]:
    """From what the run started, if not from weights that were drawn."""
    if plan.extends:
        began = f"the final weights of {plan.extends[-1]}, and so from its training data as well"
    elif plan.initial_weights:
        began = "weights that the coordinator gave; their training data are not listed here"
    else:
        return []
    return [f"| Started from | {began} (SHA-256 `{plan.initial_weights}`) |"]


def _bands(plan: Plan) -> str:
    """How the bands are found. Whether they are calibrated is for the evaluation to say."""
    if plan.model.density_band is None:
        return "uncalibrated: cut-points of percent density that nobody has fitted"
    sources = {
        "readers": "readers' categories; uncalibrated unless the supplement on calibration says otherwise",
        "simulated": "simulated categories, not readers': uncalibrated",
    }
    return f"learnt from {sources[plan.model.density_band]}"


def _untold(plan: Plan) -> list[str]:
    """What no supplement will tell, by why."""
    by_reason = dict[str, list[str]]()
    for kind, why in untold(plan).items():
        by_reason.setdefault(why, []).append(kind.words)
    return [
        line
        for why, words in by_reason.items()
        for line in ("", *textwrap.wrap(f"Not told, because {why}: {'; '.join(words)}.", 100))
    ]


def _refused(plan: Plan) -> str:
    """Which images."""
    if SupplementKind.LIMITS in untold(plan):
        return "an image is refused\n  by its outline alone, for how those of training look is not told."
    return "which images are\n  refused as unlike those of training stands in the supplement on limits."


def _seen(plan: Plan) -> str:
    """What of the updates."""
    return "the sum of the sites' weight updates alone" if plan.is_masked else "each site's weight update"


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
