"""Events of the federation: its members, plans, runs, rounds and models."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePaused(Event):
    """A person let this site take no part for now; the subject of this and the next two is its id."""

    name = "site.paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteResumed(Event):
    """A person let this site take part again."""

    name = "site.resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLeft(Event):
    """A person ended this site's membership from its own side."""

    name = "site.left"


# -- plans, runs and rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanApproved(Event):
    """A person let this site train under a plan; the subject is the plan's name."""

    name = "plan.approved"
    run_id: Identifier
    plan_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRejected(Event):
    """A person did not let this site train under a plan; the subject is the plan's name."""

    name = "plan.rejected"
    run_id: Identifier
    plan_sha256: Digest
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReopened(Event):
    """A run is resumed; what this site had decided on its plan holds on. The subject is the plan's name."""

    name = "plan.reopened"
    run_id: Identifier
    plan_sha256: Digest


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
class RunFinished(Event):
    """A run went through all of its rounds."""

    name = "run.finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed(Event):
    """A run could not go on."""

    name = "run.failed"
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped(Event):
    """A person stopped a run."""

    name = "run.stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """A person lets a run go on that was stopped or has failed."""

    name = "run.resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _RoundEvent(Event):
    """Of one attempt at a phase of a round; the subject is the run id."""

    number: Count
    attempt: Count
    phase: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOpened(_RoundEvent):
    """A cohort is about to be asked.

    Attributes
    ----------
    carried
        Sites that are not asked: what they gave to the attempt before, which came to nothing, counts now.
    """

    name = "round.opened"
    cohort: tuple[Identifier, ...]
    carried: tuple[Identifier, ...] = ()


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
class NoisyRoundComputed(_RoundEvent):
    """This site has computed a round under noise, in so many steps: the budget of privacy is less by them."""

    name = "round.noisy"
    steps: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class SumSigned(_RoundEvent):
    """This site signs whose updates may be read as a sum under secure aggregation.

    Attributes
    ----------
    sites
        Whose they are.
    keys
        Signing keys of all that took part in the masking, as `keys show` has them, by site id: to be compared
        with what those hospitals say themselves.
    """

    name = "sum.signed"
    sites: tuple[Identifier, ...]
    keys: tuple[KeyId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionRefused(_RoundEvent):
    """This site sent a refusal instead of a contribution."""

    name = "contribution.refused"
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionRejected(_RoundEvent):
    """The coordinator told this site that it had not let a contribution in."""

    name = "contribution.rejected"
    reason: Reason


# -- models


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPublished(Event):
    """A run's result was signed and registered; the subject of this and all below is the model id."""

    name = "model.published"
    run_id: Identifier
    manifest_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSupplemented(Event):
    """What a model's evaluation has shown was signed and registered."""

    name = "model.supplemented"
    manifest_sha256: Digest
    num_supplements: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReleaseAsked(Event):
    """A first person said that a model may be used in the clinic."""

    name = "model.release_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReleased(Event):
    """A second person said so, and it may; `first` is the name of the first."""

    name = "model.released"
    first: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRevoked(Event):
    """A model may be used for no image any more; a site writes it down when it is told."""

    name = "model.revoked"
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInstalled(Event):
    """A site took a verified model into use, or went back to it."""

    name = "model.installed"
    manifest_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDownloaded(Event):
    """A verified copy of a model was written."""

    name = "model.downloaded"
    manifest_sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsed(Event):
    """A person measured images with a model at this site, or with its own layers in that model."""

    name = "model.used"
    manifest_sha256: Digest
    num_images: Count
    has_own_layers: bool
