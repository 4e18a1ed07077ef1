"""The rules of `policy.toml`, their defaults, and what each may be.

`policy.toml` stands in the site's home; what it does not say has the default that stands here. The
description of a field is what a person is told who wrote something else.
"""

from __future__ import annotations

import re
from datetime import datetime, time, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from shared.plan import METRIC_NAMES, MetricName
from shared.tables import Table

LOCAL = "local"


def _is_hour(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError("not a time of day")
    return text


def _is_zone(name: str) -> str:
    if name != LOCAL:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("not a known time zone") from error
    return name


Hour = Annotated[str, AfterValidator(_is_hour)]
Names = Annotated[tuple[str, ...], Field(strict=False)]


class AllowTable(Table):
    """Who may ask, for what, with which software."""

    coordinators: Names | None = Field(
        default=None, description='a list of federations\' names, such as ["Density study"]'
    )
    plans: Names = Field(
        default=("*",), description='a list of plans\' names; * stands for any letters, as in ["density-*"]'
    )
    runs: Names = Field(default=("*",), description="a list of runs' ids; * stands for any letters")
    bundles: (
        Annotated[tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...], Field(strict=False)] | None
    ) = Field(default=None, description="a list of SHA-256 digests of bundles, 64 hex digits each")


class HoursTable(Table):
    """When training may go on: from `begin` to `end`, past midnight if `end` is the earlier one."""

    begin: Hour = Field(default="00:00", description='a time of day such as "20:00"')
    end: Hour = Field(default="00:00", description='a time of day such as "06:30"')
    time_zone: Annotated[str, AfterValidator(_is_zone)] = Field(
        default=LOCAL, description='"local", or a zone of the IANA database such as "Europe/Helsinki"'
    )

    def zone(self) -> tzinfo | None:
        """The zone; None for this computer's own."""
        return None if self.time_zone == LOCAL else ZoneInfo(self.time_zone)

    def span(self) -> tuple[time, time]:
        """Begin and end; the same twice is the whole day."""
        return _time(self.begin), _time(self.end)


class LimitsTable(Table):
    """How much a plan may ask of this site."""

    rounds: int = Field(default=200, ge=1, le=10_000, description="a whole number from 1 to 10000")
    local_epochs: int = Field(default=10, ge=1, le=100, description="a whole number from 1 to 100")
    personal_epochs: int = Field(default=50, ge=0, le=1000, description="a whole number from 0 to 1000")
    gpu_memory_gib: float | None = Field(
        default=None, gt=0, le=10_000, strict=False, description="a number above 0, in GiB"
    )


class DataTable(Table):
    """What must be here before this site trains."""

    min_examples: int = Field(default=5, ge=1, le=10_000_000, description="a whole number of 1 or more")


class EgressTable(Table):
    """What may leave beside the update."""

    metrics: Annotated[tuple[MetricName, ...], Field(strict=False)] = Field(
        default=METRIC_NAMES, description=f"a list of any of {', '.join(METRIC_NAMES)}"
    )
    smallest_count: int = Field(default=5, ge=1, le=10_000, description="a whole number from 1 to 10000")
    round_counts_to: int = Field(default=1, ge=1, le=10_000, description="a whole number from 1 to 10000")
    readiness: Literal["kept", "told"] = Field(default="kept", description='"told" or "kept"')

    @model_validator(mode="after")
    def _a_reported_count_is_never_rounded_to_nothing(self) -> EgressTable:
        if self.round_counts_to > self.smallest_count:
            raise ValueError("round_counts_to is above smallest_count")
        return self


class PrivacyTable(Table):
    """What a plan must offer, and with whom a site masks its updates.

    Under secure aggregation at least `least_sites` sites take part in a round, and the plan bears at least
    `colluding_sites` that help the coordinator. Where `known_keys` names the other hospitals' signing keys,
    as they read them out, no others are masked with.

    With `metrics` "in_aggregate" a plan may ask for metrics only as sums of all sites under these masks.

    With `noise` or `max_epsilon` a plan must hide patients in noise, of `least_multiplier` at least; all runs
    together may spend no more than `max_epsilon` for this `delta`.
    """

    secure_aggregation: Literal["not required", "required"] = Field(
        default="not required", description='"required" or "not required"'
    )
    metrics: Literal["per_site", "in_aggregate"] = Field(
        default="per_site", description='"per_site" or "in_aggregate"'
    )
    least_sites: int = Field(default=3, ge=3, le=10_000, description="a whole number of 3 or more")
    colluding_sites: int = Field(default=0, ge=0, le=1000, description="a whole number from 0 to 1000")
    known_keys: (
        Annotated[tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...], Field(strict=False)] | None
    ) = Field(default=None, description="a list of other sites' signing keys, 64 hex digits each")
    noise: Literal["not required", "required"] = Field(
        default="not required", description='"required" or "not required"'
    )
    least_multiplier: float = Field(
        default=0, ge=0, le=1000, strict=False, description="a number from 0 to 1000"
    )
    max_epsilon: float | None = Field(
        default=None, gt=0, le=1000, strict=False, description="a number above 0, at most 1000"
    )
    delta: float = Field(
        default=1e-5, ge=1e-12, le=1e-3, description="a number from 1e-12 to 1e-3, such as 1e-5"
    )


class Policy(Table):
    """The whole of `policy.toml`."""

    approval: Literal["needed", "not needed"] = Field(
        default="needed", description='"needed" or "not needed"'
    )
    allow: AllowTable = AllowTable()
    hours: HoursTable = HoursTable()
    limits: LimitsTable = LimitsTable()
    data: DataTable = DataTable()
    egress: EgressTable = EgressTable()
    privacy: PrivacyTable = PrivacyTable()


def _time(text: str) -> time:
    return datetime.strptime(text, "%H:%M").time()
