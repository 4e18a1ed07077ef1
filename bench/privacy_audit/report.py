"""An audit as a page that a data-protection officer reads, with its pictures and figures beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.privacy_audit.audit import Audit
from bench.privacy_audit.differencing import DifferencingRow
from bench.privacy_audit.figures import Figure
from bench.privacy_audit.image_values import ImageValueRow
from bench.privacy_audit.inversion_trials import InversionRow
from bench.privacy_audit.membership import MembershipRow
from bench.privacy_audit.picture import draw_inversions, draw_leaks
from bench.privacy_audit.properties import PropertyRow
from bench.privacy_audit.recommending import (
    GUESSED_AREA,
    GUESSED_CORRELATION,
    LEAST_LEARNING,
    VISIBLE_GAIN,
    Recommendation,
    Verdict,
)
from shared.files import PUBLIC_FILE, write_file
from shared.masking.site_noise import epsilon_of_a_site

PAGE, FIGURES, INVERSIONS, LEAKS = "report.md", "figures.json", "inversions.png", "leaks.png"
CHANCES = 3.0
"""A cosine of so many times that of chance is more than chance."""
DELTA, NO_BOUND = 1e-5, 100.0
NEARLY_ALL, HALF = 0.9, 0.3
"""Cosines with an update from which on it is told, or much of it."""


def write(audit: Audit, folder: Path) -> Path:
    """Write page, pictures and figures into a folder; returns the page's file."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_inversions(audit.inversions, folder / INVERSIONS)
    draw_leaks(audit.memberships, audit.properties, folder / LEAKS)
    write_file(folder / FIGURES, json.dumps(audit.document(), indent=1).encode(), mode=PUBLIC_FILE)
    write_file(folder / PAGE, page(audit).encode(), mode=PUBLIC_FILE)
    return folder / PAGE


def page(audit: Audit) -> str:
    """The whole report, in Markdown."""
    parts = [
        _head(audit),
        ["## Recommended", "", *_recommended(audit)],
        ["## 1. Can a picture be got back?", "", *_inversions(audit.inversions)],
        ["## 2. Can it be told that a woman's pictures were there?", "", *_memberships(audit.memberships)],
        ["## 3. Can it be told what kind of women a hospital has?", "", *_properties(audit.properties)],
        ["## 4. Can one hospital be had by subtraction?", "", *_differences(audit)],
        ["## 5. What do the statistics tell of one image?", "", *_image_values(audit.image_values)],
        ["## What this does not show", "", *LIMITS],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


LIMITS = [
    "- An attack that fails here proves nothing of a better one. What holds against all of them is a",
    "  bound: who is in the sum (secure aggregation), and how much noise is in it (differential",
    "  privacy).",
    "- Pictures are small and few, and attackers have been given more than they would have: the label",
    "  maps of the very pictures, pictures of women like those that they look for, and all plans and",
    "  weights.",
    "- One round is attacked. A run has many, over the same women, and what the rounds tell adds up.",
    "- The noise is that of whole hospitals (`privacy.site_noise`). Noise on patients",
    "  (`privacy.patient_noise`) is not attacked here.",
]


def _head(audit: Audit) -> list[str]:
    material, plan = audit.material, audit.plan
    counts = [len({each.patient for each in part}) for part in (material.attacked, material.attackers)]
    return [
        "# Privacy audit",
        "",
        "What a hostile coordinator can learn of a hospital, found out by attacking. Each attack is a",
        "known public one; its paper stands at the head of its module in `bench/privacy_audit`. Made",
        "by `make audit-privacy`.",
        "",
        f"- Pictures: {material.name}; {counts[0]} women of hospitals that are attacked, {counts[1]}",
        f"  others of the attacker, at {plan.model.input_height_px} x {plan.model.input_width_px}",
        "  pixels.",
        f"- Network: `{plan.model.network}`, {audit.num_values:,} values in an update; training,",
        "  rounding and sums by the product's own code.",
        "- *Single update* is what the coordinator sees without secure aggregation; *sum of n",
        "  hospitals* is what it sees with it. *Noise* is `privacy.site_noise.multiplier`: the standard",
        "  deviation of the noise in the sum, over what one hospital can move it by.",
        "- In brackets are 95 % intervals. Where an interval holds what guessing gives, nothing was",
        "  shown.",
    ]


def _recommended(audit: Audit) -> list[str]:
    rows = [
        [
            str(each.num_sites),
            _setting_words(each.chosen),
            _leak_words(each.chosen),
            "-" if each.chosen is None else _learning(each.chosen.learning_left),
            _tight_words(each),
            f"{each.colluding} ({_count(each.dropouts, 'hospital')} may leave)",
        ]
        for each in audit.recommendations
    ]
    head = [
        "hospitals",
        "recommended",
        "still did better than guessing",
        "learning left",
        "least noise against which nothing did",
        "`privacy.colluding_sites`",
    ]
    return [
        "Taken from the rows below, by one rule: of the settings under which a round still learns at",
        f"least {100 * LEAST_LEARNING:.0f} % of what it learns without noise, the one against which",
        "the fewest attacks do better than guessing; of equal ones the least noise.",
        "",
        *_table(head, rows),
        "",
        "In each case `privacy.secure_aggregation` is on, and every hospital's policy demands it. The",
        "last column is the most hospitals that may collude with the coordinator while a fifth of all",
        "may leave a round.",
        "",
        "Attacks show what is told; a bound says what cannot be. That of one round, for one hospital",
        f"more or less and a delta of {DELTA:g}, by the product's own accountant:",
        "",
        *_table(
            ["noise", "epsilon of one round"],
            [
                [f"{each:g}", _epsilon_words(epsilon_of_a_site(1, multiplier=each, delta=DELTA))]
                for each in audit.asked.noise_multipliers
            ],
        ),
    ]


def _epsilon_words(epsilon: float) -> str:
    return f"{epsilon:.1f}" if epsilon < NO_BOUND else f"above {NO_BOUND:g}: no bound to speak of"


def _setting_words(verdict: Verdict | None) -> str:
    if verdict is None:
        return "none of those that were tried"
    noise = verdict.setting.noise_multiplier
    return f"secure aggregation, noise {noise:g}" if noise else "secure aggregation, no noise"


def _leak_words(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    return ", ".join(verdict.leaks) or "nothing"


def _tight_words(found: Recommendation) -> str:
    if found.tight is None:
        return "more than was tried"
    return f"{found.tight.setting.noise_multiplier:g}; learning left: {_learning(found.tight.learning_left)}"


def _inversions(rows: Sequence[InversionRow]) -> list[str]:
    table = [
        [
            row.trial.start,
            "bare gradient" if row.trial.sent == "gradient" else row.trial.setting.words,
            f"{row.similarity:.2f}",
            f"{row.guess_similarity:.2f}",
            f"{row.similarity - row.guess_similarity:+.2f}",
            _inversion_words(row),
        ]
        for row in rows
    ]
    return [
        "The attacker looks for the picture that would have made the hospital send what it sent. This",
        "is the harshest case: each hospital trains one step on one picture, which no policy allows,",
        "and the attacker knows where in the picture each tissue lies. *Likeness* is SSIM within the",
        "breast: 1 is the same picture. *Guess* is what anybody draws who fills each tissue with its",
        "usual grey; only what is above it was learnt from the update.",
        "",
        f"![Original, guess and reconstructions]({INVERSIONS})",
        "",
        *_table(["weights", "what is seen", "likeness", "guess", "gain", "what it means"], table),
        "",
        "*Drawn* weights are those that a run begins with. *Crafted* ones are a hostile",
        "coordinator's, made so that updates tell more; a hospital cannot see that weights are",
        "crafted. The *bare gradient* is what textbooks attack and no hospital sends.",
    ]


def _inversion_words(row: InversionRow) -> str:
    if row.gain[0] >= VISIBLE_GAIN:
        return "the picture is got back in part"
    if row.gain[1] >= VISIBLE_GAIN:
        return "some pictures are got back in part"
    return "no better than the guess"


def _memberships(rows: Sequence[MembershipRow]) -> list[str]:
    first = rows[0]
    allowed = int(first.num_others / 100)
    table = [
        [
            row.setting.words,
            _share(row.found),
            _number(row.area),
            "membership is told" if row.area.low > GUESSED_AREA else "no better than guessing",
            _learning(row.learning_left),
        ]
        for row in rows
    ]
    return [
        "The attacker has a woman's pictures and asks whether the hospital has trained on them. He",
        "has trained models of his own with and without them, and compares. *Found* is the share of",
        "women's pictures that he is right to call trained on, if he may be wrong in 1 % of the",
        "others; guessing finds 1 %. *Area* is how often a picture that was trained on looks more so",
        "than one that was not; guessing gives 0.50. *Learning left* is what the round takes off the",
        "loss of unseen pictures, beside the same hospitals without noise.",
        "",
        f"![How far membership and density are told]({LEAKS})",
        "",
        *_table(["what is seen", "found at 1 %", "area", "what it means", "learning left"], table),
        "",
        f"{first.num_members} trials with members and {first.num_others} with others, several of each",
        f"picture: 1 % of the others are {_count(allowed, 'trial')}, so that *found* scatters much,",
        "and *area* says more. Intervals draw women anew.",
    ]


def _properties(rows: Sequence[PropertyRow]) -> list[str]:
    table = [
        [
            row.setting.words,
            _number(row.one),
            f"{row.error:.1f} ({row.guess_error:.1f})",
            _number(row.together),
            _property_words(row),
        ]
        for row in rows
    ]
    return [
        "The attacker wants the mean percent density of a hospital's women. He simulates hospitals,",
        "learns how updates follow from density, and reads the hospital's. *One hospital* is the",
        "correlation of what he reads with the truth: 0 is guessing, 1 is knowing. *Error* is in",
        "percentage points, in brackets that of always saying the mean. *All together* is the same",
        "for the mean over all hospitals in the sum, which no sum can hide.",
        "",
        *_table(["what is seen", "one hospital", "error", "all together", "what it means"], table),
        "",
        f"{rows[0].num_hospitals} simulated hospitals were attacked under each setting.",
    ]


def _property_words(row: PropertyRow) -> str:
    one, together = (each.low > GUESSED_CORRELATION for each in (row.one, row.together))
    if one:
        return "the hospital's density is told"
    return "only what all have in common is told" if together else "no better than guessing"


def _differences(audit: Audit) -> list[str]:
    table = [
        [
            row.setting.words,
            "-" if row.exact is None else f"{100 * row.exact:.0f} %",
            f"{row.two_sums:.3f}",
            f"{row.two_rounds:.3f}",
            f"{row.chance:.3f}",
            _difference_words(row),
        ]
        for row in audit.differences
    ]
    return [
        "A sum with a hospital less the sum without it is that hospital's update. So no round may be",
        "summed twice. The product's own register of signatures was asked for a second sum of a",
        "round, with one hospital less, and said:",
        "",
        f"> {audit.refusal}",
        "",
        "The table says what two sums *would* give away: the share of the update's integers that is",
        "exact, and how far the difference points the way of the update (1 is the same, *chance* is",
        "unrelated). A hospital's noise is the same in all attempts at a round, so that its own part of",
        "it would be left. *Two rounds* is what is left to a coordinator who may not have two sums: a",
        "hospital leaves the run, and the round before is less the one after.",
        "",
        *_table(["what is seen", "exact", "two sums", "two rounds", "chance", "what it means"], table),
    ]


def _difference_words(row: DifferencingRow) -> str:
    sums, rounds = (_told_words(each, row.chance) for each in (row.two_sums, row.two_rounds))
    return f"two sums would tell {sums}, and are refused; two rounds tell {rounds}"


def _told_words(alike: float, chance: float) -> str:
    if alike > NEARLY_ALL:
        return "the update"
    if alike > HALF:
        return "much of it"
    return "a trace of it" if alike > CHANCES * chance else "nothing"


def _image_values(rows: Sequence[ImageValueRow]) -> list[str]:
    table = [
        [
            row.attack,
            row.answer,
            "-" if row.error is None else f"{row.error:.4f}",
            f"{row.guess_error:.4f}",
            _value_words(row),
        ]
        for row in rows
    ]
    return [
        "Beside the update leave statistics over a hospital's images, such as their mean Dice. The",
        "attacker wants the value of one image. *Error* is how far he is off; *guess* how far anybody",
        "is who says the mean.",
        "",
        *_table(["attack", "the hospital tells", "error", "guess", "what it means"], table),
    ]


def _value_words(row: ImageValueRow) -> str:
    if row.error is None:
        return "refused: nothing to guess by"
    return "the image's value is known" if row.error < row.guess_error / 10 else "no better than guessing"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _learning(left: float) -> str:
    return f"{100 * left:.0f} %" if left > 0 else "none, the round harms"


def _share(figure: Figure) -> str:
    return f"{100 * figure.value:.0f} % ({100 * figure.low:.0f} to {100 * figure.high:.0f})"


def _number(figure: Figure) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows]]
