"""The model card: what the model is for, what it was trained on, how well it does, and its limits."""

from __future__ import annotations

from server.summary import RoundSummary, RunSummary, SitePart, mean_evaluation
from shared.plan import Plan
from shared.records import Evaluation


def write_model_card(
    model_id: str, summary: RunSummary, plan: Plan, *, created_at: str, software: str
) -> str:
    """The card as Markdown."""
    last = summary.rounds[-1] if summary.rounds else None
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
            f"| Rounds | {summary.num_finished} of {summary.num_rounds} |",
            f"| Software | {software} |",
            "",
            "## Training data",
            "",
            "Images stayed at the sites. Counts are those of the last round.",
            "",
            "| Site | Training examples |",
            "| --- | ---: |",
            *([_count_row(part) for part in last.parts] if last else []),
            "",
            "## How well it does",
            "",
            "On each site's test part, which was used for nothing else.",
            "",
            _METRIC_HEAD,
            *[_metric_row(part.site, part.evaluation) for part in summary.test],
            _metric_row(
                "all, weighted", mean_evaluation([p.evaluation for p in summary.test if p.evaluation])
            ),
            "",
            "## Per round",
            "",
            "Losses are means over the sites. Dense Dice: the model that the round began with,",
            "on the validation part of each site, and of all weighted by images.",
            "",
            *_round_table(summary),
            "",
            "All metrics per site and round: `metrics.json`. Picture: `learning_curves.png`.",
            "",
            "## Limits",
            "",
            "- Research use; no clinical decision may rest on it. Not validated on readers' assessments.",
            "- Measures CC and MLO views of whole breasts without implants; other images are refused.",
            "- Density bands derived from percent density are uncalibrated.",
            "- Trained and tested at the sites above only; other vendors and readers may differ.",
            "- The coordinator saw each site's weight update and the metrics above.",
            "",
        ]
    )


_METRIC_HEAD = (
    "| Site | Images | Dense Dice | Breast Dice | Pectoral Dice | Percent density, mean abs. error (pp) |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: |"
)


def _round_table(summary: RunSummary) -> list[str]:
    sites = sorted({part.site for one in summary.rounds for part in one.parts})
    head = ["Round", "Sites counted / asked", "Training loss", "Validation loss", "Dense Dice, all", *sites]
    rows = [
        [
            str(one.number),
            f"{one.num_admitted} / {one.num_asked}",
            _number(one.train_loss),
            _number(one.incoming.loss if one.incoming else None),
            _number(one.incoming.dice_dense if one.incoming else None),
            *[_number(_dense_dice(one, site)) for site in sites],
        ]
        for one in summary.rounds
    ]
    return [f"| {' | '.join(cells)} |" for cells in [head, ["---:"] * len(head), *rows]]


def _dense_dice(one: RoundSummary, site: str) -> float | None:
    found = [part.evaluation for part in one.parts if part.site == site and part.evaluation]
    return found[0].dice_dense if found else None


def _count_row(part: SitePart) -> str:
    return f"| {part.site} | {part.num_examples if part.num_examples is not None else 'not counted'} |"


def _metric_row(name: str, evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return f"| {name} | 0 | - | - | - | - |"
    return (
        f"| {name} | {evaluation.num_examples} | {_number(evaluation.dice_dense)} | "
        f"{_number(evaluation.dice_breast)} | {_number(evaluation.dice_pectoral)} | "
        f"{_points(evaluation.percent_density_mae)} |"
    )


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
