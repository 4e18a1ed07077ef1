"""The policy in plain words, for whoever answers for the hospital's data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from client.policy.policy import Policy
from client.policy.reading import as_plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the policy as it stands: its name, what it allows, and whether that is the default."""

    name: str
    words: str
    is_default: bool


def policy_in_words(policy: Policy) -> list[Rule]:
    """Every rule, in the order of `policy.toml`."""
    values, defaults = as_plain(policy), as_plain(Policy())
    return [
        Rule(name=name, words=_WORDS.get(name, str)(value), is_default=value == defaults[name])
        for name, value in values.items()
    ]


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"'{each}'" for each in names) or "none"


def _approval(value: str) -> str:
    needed = value == "needed"
    return "a person approves every plan" if needed else "plans that keep to the rules run without a person"


def _coordinators(value: Sequence[str] | None) -> str:
    return "only the federation that this site has joined" if value is None else f"only {_names(value)}"


def _bundles(value: Sequence[str] | None) -> str:
    if value is None:
        return "those of approved-bundles.txt"
    return f"only {_digests(value)}"


def _digests(value: Sequence[str]) -> str:
    return ", ".join(each[:12] for each in value) or "none"


def _any_or(value: Sequence[str]) -> str:
    return "any" if list(value) == ["*"] else f"only {_names(value)}"


def _at_most(value: int) -> str:
    return f"at most {value}"


def _memory(value: float | None) -> str:
    return "all that there is" if value is None else f"at most {value:g} GiB"


def _readiness(value: str) -> str:
    if value == "kept":
        return "outside of runs nothing is told of data and GPUs"
    return "the number of labelled examples in each part, and the GPUs, are told outside of runs too"


def _rounding(value: int) -> str:
    return "counts leave as they are" if value == 1 else f"counts leave rounded down to {value}s"


_WORDS: Mapping[str, Callable[[Any], str]] = {
    "approval": _approval,
    "allow.coordinators": _coordinators,
    "allow.plans": _any_or,
    "allow.runs": _any_or,
    "allow.bundles": _bundles,
    "limits.rounds": _at_most,
    "limits.local_epochs": _at_most,
    "limits.personal_epochs": _at_most,
    "limits.gpu_memory_gib": _memory,
    "data.min_examples": "trains on no fewer than {} examples".format,
    "egress.smallest_count": "tells no count below {}, and no metric over fewer images".format,
    "egress.round_counts_to": _rounding,
    "egress.readiness": _readiness,
    "egress.metrics": lambda value: ", ".join(value) or "none",
    "privacy.metrics": lambda value: (
        "metrics leave as the plan asks for them"
        if value == "per_site"
        else "metrics leave in aggregate only"
    ),
    "privacy.least_sites": "masks its update with no fewer than {} sites".format,
    "privacy.colluding_sites": "{} of the other sites may help the coordinator".format,
    "privacy.least_multiplier": "noise, where a plan has it, is at least {} times a patient's bound".format,
    "privacy.max_epsilon": lambda value: (
        "no budget" if value is None else f"all plans together spend an epsilon of at most {value:g}"
    ),
    "privacy.delta": "for a delta of {:g}".format,
    "privacy.known_keys": lambda value: "any" if value is None else f"only {_digests(value)}",
}
"""Rules that are not listed are told by their value."""
