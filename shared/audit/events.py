"""Every event that is written down, under a name that never changes.

A new event is one class here and one line in `EVENTS`. A name or a detail that has been in a release is never
renamed: auditors and log collectors look for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.audit.event import Count, Digest, Event, Fingerprint, Identifier, KeyId, Reason, Word

# -- the federation and its members


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorFounded(Event):
    """The coordinator's home was made; the subject is `coordinator`."""

    name = "coordinator.founded"


@dataclass(frozen=True, slots=True, kw_only=True)
class _SiteEvent(Event):
    """Of a site by its name; the subject of this and the next is its site id."""

    site_name: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteInvited(_SiteEvent):
    """A one-time token was shown."""

    name = "site.invited"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteWithdrawn(Event):
    """An invitation was taken back before it was used."""

    name = "site.withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteApplied(Event):
    """A site brought its keys and waits for a person's approval."""

    name = "site.applied"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteApproved(Event):
    """A person compared the fingerprint of a site's keys and let it in."""

    name = "site.approved"
    keys: Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRejected(Event):
    """A person did not let a site in."""

    name = "site.rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteEnrolled(_SiteEvent):
    """A site got its certificate (coordinator's side)."""

    name = "site.enrolled"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteJoined(_SiteEvent):
    """This site became a member (site's side)."""

    name = "site.joined"
    root_fingerprint: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRevoked(_SiteEvent):
    """A site's membership ended for good."""

    name = "site.revoked"
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRenewed(Event):
    """A site got a new certificate, and perhaps new keys."""

    name = "site.renewed"
    signing_key_changed: bool
    node_key_changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysRotated(Event):
    """A key was replaced; the subject is whose it is: `coordinator` or a site id."""

    name = "keys.rotated"
    purpose: Word
    old_key_id: KeyId
    new_key_id: KeyId


# -- plans, runs and rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanApproved(Event):
    """A person let this site train under a plan; the subject is the plan's name."""

    name = "plan.approved"
    plan_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRejected(Event):
    """A person did not let this site train under a plan; the subject is the plan's name."""

    name = "plan.rejected"
    plan_sha256: Digest
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSubmitted(Event):
    """A person asked for a run; the subject of this and the next is the run id."""

    name = "run.submitted"
    plan_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRunning(Event):
    """A run began."""

    name = "run.running"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped(Event):
    """A person ended a run, or a site's part in it."""

    name = "run.stopped"
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """A run went through all of its rounds."""

    name = "run.finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed(Event):
    """A run could not go on."""

    name = "run.failed"
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _RoundEvent(Event):
    """Of one attempt at a phase of a round; the subject is the run id."""

    number: Count
    attempt: Count
    phase: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOpened(_RoundEvent):
    """A cohort is about to be asked."""

    name = "round.opened"
    cohort: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAggregated(_RoundEvent):
    """An attempt closed with its quorum."""

    name = "round.aggregated"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundVoid(_RoundEvent):
    """An attempt closed without a result."""

    name = "round.void"


@dataclass(frozen=True, slots=True, kw_only=True)
class _AnswerEvent(_RoundEvent):
    """Of one site's part, who is the actor."""

    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAdmitted(_AnswerEvent):
    """A contribution entered the aggregate."""

    name = "answer.admitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRejected(_AnswerEvent):
    """A contribution was not let in."""

    name = "answer.rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRefused(_AnswerEvent):
    """A site said that it does not take part."""

    name = "answer.refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLost(_AnswerEvent):
    """A site did not answer."""

    name = "answer.lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionReleased(_RoundEvent):
    """The egress gate let a contribution out of this site."""

    name = "contribution.released"
    sha256: Digest
    size_bytes: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionRefused(_RoundEvent):
    """This site sent a refusal instead of a contribution."""

    name = "contribution.refused"
    reason: Reason


# -- models


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPublished(Event):
    """A run's result was signed and registered; the subject of this and the next is the model id."""

    name = "model.published"
    run_id: Identifier
    manifest_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReleased(Event):
    """A person released a model for use."""

    name = "model.released"
    manifest_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDownloaded(Event):
    """A verified copy of a model was written."""

    name = "model.downloaded"
    manifest_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRevoked(Event):
    """A person withdrew a model from use."""

    name = "model.revoked"
    manifest_sha256: Digest
    reason: Reason | None = None


# -- data, settings and persons


@dataclass(frozen=True, slots=True, kw_only=True)
class DataImported(Event):
    """An import ended; the subject is the kind of its source, such as `folder` or `archive`."""

    name = "data.imported"
    num_examples: Count
    num_left_out: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRemoved(Event):
    """Examples were erased; the subject is why: `withdrawal` or `request`."""

    name = "data.removed"
    num_patients: Count
    num_examples: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationChanged(Event):
    """A settings file got another content; the subject is the file's kind, such as `site.toml`."""

    name = "configuration.changed"
    old_sha256: Digest | None
    new_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged(Event):
    """The site's policy of what may leave got another content; the subject is `policy`."""

    name = "policy.changed"
    old_sha256: Digest | None
    new_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonAdded(Event):
    """A person got a token; the subject of this and the next is the person's name."""

    name = "person.added"
    role: Word
    key_id: KeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonDisabled(Event):
    """A person's token ended for good."""

    name = "person.disabled"


# -- the log itself


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryContradicted(Event):
    """The other side signed two histories that cannot both be true; the subject is that side."""

    name = "audit.contradicted"
    reason: Reason
    sequence: Count
    head: Digest


EVENTS: Mapping[str, type[Event]] = {
    each.name: each
    for each in (
        CoordinatorFounded,
        SiteInvited,
        SiteWithdrawn,
        SiteApplied,
        SiteApproved,
        SiteRejected,
        SiteEnrolled,
        SiteJoined,
        SiteRevoked,
        SiteRenewed,
        KeysRotated,
        PlanApproved,
        PlanRejected,
        RunSubmitted,
        RunRunning,
        RunStopped,
        RunFinished,
        RunFailed,
        RoundOpened,
        RoundAggregated,
        RoundVoid,
        AnswerAdmitted,
        AnswerRejected,
        AnswerRefused,
        AnswerLost,
        ContributionReleased,
        ContributionRefused,
        ModelPublished,
        ModelReleased,
        ModelDownloaded,
        ModelRevoked,
        DataImported,
        DataRemoved,
        ConfigurationChanged,
        PolicyChanged,
        PersonAdded,
        PersonDisabled,
        HistoryContradicted,
    )
}
