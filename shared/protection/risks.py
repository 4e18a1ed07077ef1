"""What remains at risk with everything in place, in words for those who decide about it."""

from __future__ import annotations

from shared.protection.pack import Grid, Section

REMAINING = (
    (
        "Updates tell of the images they were trained on",
        "The coordinator sees each site's update. Attacks on such updates can tell whether a known image was "
        "among the training data, and in bad cases resemble one. Few examples and many epochs make it worse.",
        "A policy that asks for many examples and few epochs; a coordinator bound by contract",
    ),
    (
        "The published model remembers",
        "What the sites' average has kept of a single image is less, and anybody with the model can look "
        "for it.",
        "Models are given to those who need them; downloads stand in the audit log",
    ),
    (
        "A coordinator that is hostile as a whole",
        "It cannot send code, widen a plan or read what a site does not release; it can waste the site's "
        "time, and choose what it averages.",
        "Approval of plans and bundles by a person; logs at both sides that hold each other",
    ),
    (
        "A hostile site",
        "It can send an update that is well formed and wrong, and so damage the model, not the other sites' "
        "data.",
        "Admission checks; measures of every round by site",
    ),
    (
        "Whoever owns the computer",
        "An administrator of the site's machine can read the home folder and its keys, and so the examples.",
        "The hospital's own control of its machines; disk encryption; backups that are encrypted",
    ),
)


def remaining_risks() -> Section:
    """The residual risks; `docs/threat-model.md` has the whole."""
    return Section(
        title="What remains at risk",
        grids=(Grid(title="", head=("Risk", "What it means", "What lessens it"), rows=REMAINING),),
    )
