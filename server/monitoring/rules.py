"""The rules of alerts: facts in, findings out, without disk, socket or clock.

A lasting finding stands for as long as facts say so, and is over then. What has happened is told once. Of a
lasting one `untold` means that the facts do not say: what stands then goes on standing. Texts name sites,
runs and numbers of rounds. They hold no reason that a site gave, no count of images and no path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from server.monitoring.facts import Facts, RunFacts, SiteFacts
from server.monitoring.settings import AlertSettings, Rule
from shared.evaluation.measures import MEASURES

MINUTE_S = 60.0
DAY_S = 86_400.0
GIB = 1 << 30
NEWS_S = DAY_S
"""What happened longer ago is told nobody any more: it was before the watching began."""

LAST_SHARE_OF_LIFE = 1 / 6
"""A site renews after two thirds of its certificate's life; half of the rest is left for that to succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule has found.

    Attributes
    ----------
    key
        The same for the same trouble at every look.
    """

    rule: Rule
    key: str
    subject: str
    text: str
    is_lasting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What stands at one moment, and the keys of which nothing can be said."""

    found: tuple[Finding, ...]
    untold: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Untold:
    key: str


_Said = Finding | _Untold
_Judge = Callable[[Facts, AlertSettings, float], Iterator[_Said]]


def judge(facts: Facts, settings: AlertSettings, *, now: float) -> Judgement:
    """Hold the facts of this moment against every rule that is not switched off."""
    said = [
        each for rule, of in _RULES.items() if rule not in settings.off for each in of(facts, settings, now)
    ]
    return Judgement(
        found=tuple(each for each in said if isinstance(each, Finding)),
        untold=frozenset(each.key for each in said if isinstance(each, _Untold)),
    )


def _site_offline(facts: Facts, settings: AlertSettings, now: float) -> Iterator[_Said]:
    for site in facts.sites:
        key = f"{Rule.SITE_OFFLINE}:{site.site_id}"
        if not facts.is_contact_known:
            yield _Untold(key)
        elif site.silent_since is not None and not site.is_paused:
            if now - site.silent_since >= settings.site_offline_minutes * MINUTE_S:
                minutes = f"{settings.site_offline_minutes:g}"
                text = f"{site.name} has been out of touch for more than {minutes} minutes."
                yield _lasting(Rule.SITE_OFFLINE, key, site.name, text)
            else:  # silent anew, or the coordinator began anew: what was raised is not over by that
                yield _Untold(key)


def _round_failed(facts: Facts, _settings: AlertSettings, now: float) -> Iterator[_Said]:
    for run in facts.failed_runs:
        if now - run.failed_at < NEWS_S:
            key = f"{Rule.ROUND_FAILED}:{run.run_id}:{run.failed_at:.3f}"
            yield _happened(Rule.ROUND_FAILED, key, run.run_id, f"The run '{run.name}' failed.")
    for one in facts.failed_attempts:
        if now - one.closed_at < NEWS_S:
            key = f"{Rule.ROUND_FAILED}:{one.run_id}:{one.phase}:{one.number}:{one.attempt}"
            text = (
                f"Attempt {one.attempt} at round {one.number} ({one.phase}) of '{one.run_name}' came to "
                f"nothing: {one.num_admitted} of {one.num_asked} sites answered as they must."
            )
            yield _happened(Rule.ROUND_FAILED, key, one.run_id, text)


def _quorum_at_risk(facts: Facts, settings: AlertSettings, now: float) -> Iterator[_Said]:
    patience_s = settings.quorum_offline_minutes * MINUTE_S
    for run in facts.runs:
        key = f"{Rule.QUORUM_AT_RISK}:{run.run_id}"
        if not facts.is_contact_known:
            yield _Untold(key)
            continue
        num_ready = sum(_is_ready(site, run, now, patience_s) for site in facts.sites)
        if num_ready < len(run.approved) and num_ready <= run.quorum <= len(run.approved):
            text = (
                f"Of {len(run.approved)} sites that approve of '{run.name}', {num_ready} can be reckoned "
                f"with; a round needs {run.quorum}."
            )
            yield _lasting(Rule.QUORUM_AT_RISK, key, run.run_id, text)


def _is_ready(site: SiteFacts, run: RunFacts, now: float, patience_s: float) -> bool:
    is_heard = site.silent_since is None or now - site.silent_since < patience_s
    return site.site_id in run.approved and is_heard and not site.is_paused


def _metric_dropped(facts: Facts, settings: AlertSettings, _now: float) -> Iterator[_Said]:
    measure = MEASURES[settings.metric]
    for run in facts.runs:
        if len(run.values) < 2:
            continue
        *earlier, (number, value) = run.values
        best_number, best = min(earlier, key=lambda one: measure.better.badness(one[1]))
        if measure.better.badness(value) - measure.better.badness(best) >= settings.metric_drop:
            text = (
                f"{measure.words} of '{run.name}' over all sites is {value:.{measure.decimals}f} at round "
                f"{number}; it was {best:.{measure.decimals}f} at round {best_number}."
            )
            yield _lasting(Rule.METRIC_DROPPED, f"{Rule.METRIC_DROPPED}:{run.run_id}", run.run_id, text)


def _update_rejected(facts: Facts, _settings: AlertSettings, now: float) -> Iterator[_Said]:
    for one in facts.rejected:
        if now - one.rejected_at < NEWS_S:
            key = f"{Rule.UPDATE_REJECTED}:{one.run_id}:{one.phase}:{one.number}:{one.attempt}:{one.site_id}"
            text = (
                f"What {one.site_name} sent for round {one.number} ({one.phase}) of '{one.run_name}' was "
                "not let in; `run show` says why."
            )
            yield _happened(Rule.UPDATE_REJECTED, key, one.site_name, text)


def _certificate_expiring(facts: Facts, settings: AlertSettings, now: float) -> Iterator[_Said]:
    for one in facts.certificates:
        left_s, life_s = one.ends_at - now, one.ends_at - one.begins_at
        if left_s < min(settings.certificate_days * DAY_S, life_s * LAST_SHARE_OF_LIFE):
            ends = "has ended" if left_s <= 0 else f"ends in {_span(left_s)}"
            key = f"{Rule.CERTIFICATE_EXPIRING}:{one.whose}"
            yield _lasting(
                Rule.CERTIFICATE_EXPIRING,
                key,
                one.whose,
                f"The certificate of {one.whose} {ends}, and was not renewed.",
            )


def _disk_low(facts: Facts, settings: AlertSettings, _now: float) -> Iterator[_Said]:
    least = settings.disk_free_gib * GIB
    key = str(Rule.DISK_LOW)
    if facts.free_bytes is not None and facts.free_bytes < least:
        text = f"The disk of the coordinator's home has less than {settings.disk_free_gib:g} GiB left."
        yield _lasting(Rule.DISK_LOW, key, "coordinator", text)
    elif facts.free_bytes is None or facts.free_bytes < 2 * least:
        yield _Untold(key)  # well again only with room to spare


_RULES: Mapping[Rule, _Judge] = {
    Rule.SITE_OFFLINE: _site_offline,
    Rule.ROUND_FAILED: _round_failed,
    Rule.QUORUM_AT_RISK: _quorum_at_risk,
    Rule.METRIC_DROPPED: _metric_dropped,
    Rule.UPDATE_REJECTED: _update_rejected,
    Rule.CERTIFICATE_EXPIRING: _certificate_expiring,
    Rule.DISK_LOW: _disk_low,
}


def _span(seconds: float) -> str:
    return f"{seconds / DAY_S:.0f} days" if seconds >= 2 * DAY_S else f"{seconds / 3600:.0f} hours"


def _lasting(rule: Rule, key: str, subject: str, text: str) -> Finding:
    return Finding(rule=rule, key=key, subject=subject, text=text, is_lasting=True)


def _happened(rule: Rule, key: str, subject: str, text: str) -> Finding:
    return Finding(rule=rule, key=key, subject=subject, text=text, is_lasting=False)
