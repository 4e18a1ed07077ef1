"""A form over the plan: its fields follow from the plan's tables, and the plan says what is wrong."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tomli_w
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from server.console.plan_words import BASIC, GROUPS, HELP, LABELS
from shared.errors import PlanError
from shared.plan import METRIC_NAMES, Plan

NOT_IN_THE_FORM = frozenset({"version", "parent", "initial_weights", "extends"})
ON = "on"
METRICS = "metrics"
MOST_WORTH_SAYING = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of the form.

    Attributes
    ----------
    name
        As errors of the plan have it, such as `rounds.count`.
    kind
        `text`, `whole`, `number`, `flag`, `choice` or `several`.
    default
        As the form has it; empty where there is none.
    """

    name: str
    kind: str
    default: str
    choices: Sequence[str] = ()
    least: float | None = None
    most: float | None = None
    is_required: bool = False

    @property
    def label(self) -> str:
        """What a person calls it."""
        return LABELS.get(self.name) or self.name.rpartition(".")[2].replace("_", " ").capitalize()

    @property
    def help(self) -> str:
        """One line about it, with the values that it may have."""
        ends = [
            f"{word} {limit:,g}"
            for word, limit in (("from", self.least), ("to", self.most))
            if limit is not None and limit < MOST_WORTH_SAYING
        ]
        may_be_empty = self.kind in {"whole", "number"} and not (self.default or self.is_required)
        optional = ["may be empty"] if may_be_empty else []
        limits = ", ".join([" ".join(ends), *optional] if ends else optional)
        return "; ".join(part for part in (HELP.get(self.name, ""), limits) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Fields that stand together; those that are not basic are folded away."""

    title: str
    is_basic: bool
    settings: Sequence[Setting]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a filled form comes to: a plan, or what is wrong by the names of settings, '' for the whole."""

    plan: Plan | None
    faults: Mapping[str, str]


def groups() -> list[Group]:
    """The form."""
    by_table: dict[str, list[Setting]] = {}
    for setting in SETTINGS:
        if setting.name not in BASIC:
            by_table.setdefault(setting.name.rpartition(".")[0], []).append(setting)
    known = {setting.name: setting for setting in SETTINGS}
    basic = Group(title="The run", is_basic=True, settings=[known[name] for name in BASIC])
    return [
        basic,
        *(
            Group(title=GROUPS.get(table, table.capitalize()), is_basic=False, settings=settings)
            for table, settings in by_table.items()
        ),
    ]


def values_of(plan: Plan | None) -> dict[str, str]:
    """The form as it is filled in for a plan, or with every default."""
    if plan is None:
        values = {setting.name: setting.default for setting in SETTINGS if setting.name != METRICS}
        return values | {f"{METRICS}.{name}": ON for name in METRIC_NAMES}
    document = plan.model_dump()
    values = {}
    for setting in SETTINGS:
        value = document
        for part in setting.name.split("."):
            value = None if value is None else value[part]
        if setting.name != METRICS:
            values[setting.name] = _as_text(value)
    return values | {f"{METRICS}.{name}": ON for name in plan.metrics}


def check(form: Mapping[str, str], *, parent: str | None = None) -> Checked:
    """The plan of a filled form.

    Parameters
    ----------
    parent
        Identity of the plan that it changes.
    """
    document: dict[str, Any] = {} if parent is None else {"parent": parent}
    for setting in SETTINGS:
        table, _, key = setting.name.rpartition(".")
        value = _value(setting, form)
        if value is not None:
            _table_in(document, table)[key] = value
    document.setdefault("rounds", {})
    try:
        # By way of the text that is signed and shown, so that nothing is started that cannot be read again.
        Plan.model_validate(document)
        return Checked(plan=Plan.from_toml(tomli_w.dumps(document)), faults={})
    except ValidationError as error:
        return Checked(plan=None, faults=dict(_faults(error)))
    except PlanError as error:
        return Checked(plan=None, faults={"": error.message})


def _table_in(document: dict[str, Any], name: str) -> dict[str, Any]:
    for part in name.split(".") if name else ():
        document = document.setdefault(part, {})
    return document


def _faults(error: ValidationError) -> Iterator[tuple[str, str]]:
    for fault in error.errors(include_url=False, include_input=False):
        name = ".".join(part for part in fault["loc"] if isinstance(part, str))
        if fault["type"] == "missing":
            yield name, "This is needed."
        elif fault["type"] == "string_pattern_mismatch":
            yield name, f"This is not usable: {HELP.get(name, 'other characters are expected')}."
        elif fault["type"] == "value_error":
            yield name if name in _NAMES else "", f"{str(fault['ctx']['error']).capitalize()}."
        else:
            yield name, f"{fault['msg']}."


def _value(setting: Setting, form: Mapping[str, str]) -> Any:
    if setting.kind == "several":
        return [choice for choice in setting.choices if f"{setting.name}.{choice}" in form]
    text = form.get(setting.name, "").strip()
    if setting.kind == "flag":
        return text == ON
    if not text:
        return None
    if setting.kind == "choice":
        return int(text) if text.isdecimal() else text
    try:
        return int(text) if setting.kind == "whole" else _finite(text) if setting.kind == "number" else text
    except ValueError:
        return text


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _as_text(value: object) -> str:
    if value is None or value is False:
        return ""
    return ON if value is True else str(value).removesuffix(".0")


def _settings(
    table: type[BaseModel], prefix: str = "", *, may_be_left_out: bool = False
) -> Iterator[Setting]:
    for key, field in table.model_fields.items():
        name, kind = f"{prefix}{key}", _unwrapped(field.annotation)
        if name in NOT_IN_THE_FORM:
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _settings(kind, f"{name}.", may_be_left_out=field.default is None)
        elif may_be_left_out:  # empty, so that the table is there only if a person fills it in
            yield replace(_setting(name, field), default="", is_required=False)
        else:
            yield _setting(name, field)


def _setting(name: str, field: FieldInfo) -> Setting:
    default = "" if field.is_required() else _as_text(field.default)
    kind, limits = _unwrapped(field.annotation), list(field.metadata)
    for inner in get_args(field.annotation):
        limits += get_args(inner)[1:] if get_origin(inner) is Annotated else []
    limits = [one for each in limits for one in (each.metadata if isinstance(each, FieldInfo) else [each])]
    if name == METRICS:
        return Setting(name=name, kind="several", default="", choices=METRIC_NAMES)
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        none = [] if default or field.is_required() else [""]
        return Setting(name=name, kind="choice", default=default, choices=[*none, *choices])
    words = {bool: "flag", int: "whole", float: "number"}
    return Setting(
        name=name,
        kind=words.get(kind, "text"),
        default=default,
        least=_limit(limits, Ge, Gt),
        most=_limit(limits, Le, Lt),
        is_required=field.is_required(),
    )


def _unwrapped(annotation: Any) -> Any:
    """The type without what may be missing, and without its limits."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return _unwrapped(next(each for each in get_args(annotation) if each is not type(None)))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _limit(limits: Sequence[object], *kinds: type[Ge | Gt | Le | Lt]) -> float | None:
    names = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt"}
    for kind in kinds:
        for each in limits:
            if isinstance(each, kind):
                return float(getattr(each, names[kind]))
    return None


SETTINGS: Sequence[Setting] = tuple(_settings(Plan))
_NAMES = frozenset(setting.name for setting in SETTINGS)
