"""Events of one side: its data, settings, persons, and the log itself."""

from __future__ import annotations

from dataclasses import dataclass

from shared.audit.event import Count, Digest, Event, Identifier, KeyId, Reason, Word

# -- data, settings and persons


@dataclass(frozen=True, slots=True, kw_only=True)
class DataImported(Event):
    """An import ended; the subject is `images`.

    `num_masks` counts masks that it brought for images of earlier imports.
    """

    name = "data.imported"
    num_examples: Count
    num_masks: Count
    num_left_out: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class MasksAdded(Event):
    """Masks that readers drew came in for images that were here; the subject is `masks`."""

    name = "masks.added"
    num_masks: Count
    num_unmatched: Count
    num_refused: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalInputsAdded(Event):
    """A table of what the hospital knows of patients came in; the subject is `clinical`."""

    name = "clinical.added"
    num_patients: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWritten(Event):
    """A page about the data set was written to a file; the subject is `report`."""

    name = "report.written"
    num_examples: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRemoved(Event):
    """Examples were erased; the subject is why: `withdrawal` of a patient, or `forget` of all."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordSet(Event):
    """A person has another password for the console; the subject of this and the next two is their name."""

    name = "person.password_set"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSignedIn(Event):
    """A person signed in to the console."""

    name = "person.signed_in"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSignedOut(Event):
    """A person signed out of it."""

    name = "person.signed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInRefused(Event):
    """Somebody was not let in; the subject is `console`.

    `person` is who they said they were, if that is anybody; `cause` is `password`, `code`,
    `single-sign-on` or `too-many` tries.
    """

    name = "person.sign_in_refused"
    person: Identifier | None
    cause: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityBound(Event):
    """A person may sign in by way of a provider; the subject of this and the next is their name.

    `claim` says by what the provider's word is matched: `sub` or `email`.
    """

    name = "person.identity_bound"
    claim: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityReleased(Event):
    """A person signs in by password alone again."""

    name = "person.identity_released"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactorSet(Event):
    """A code is asked for at each sign-in of a person; the subject of this and the next two is their name."""

    name = "person.second_factor_set"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactorRemoved(Event):
    """None is asked for any more."""

    name = "person.second_factor_removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryCodeUsed(Event):
    """A recovery code stood in for a person's second factor, and is used up."""

    name = "person.recovery_code_used"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertAcknowledged(Event):
    """A person has seen an alert; the subject is `alert-NUMBER`."""

    name = "alert.acknowledged"
    rule: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJudged(Event):
    """What is held of the coordinator's clock changed; the subject is `coordinator`.

    `standing` is `right`, `ahead` or `behind`, `off_s` by how many seconds.
    """

    name = "clock.judged"
    standing: Word
    off_s: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupTaken(Event):
    """A backup of the coordinator is being written; the subject of this and the next is `coordinator`."""

    name = "backup.taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRestored(Event):
    """The coordinator stands as it did at the line before: what came later was lost."""

    name = "backup.restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRewound(Event):
    """The database goes back to the schema of an older version; the subject is `store`."""

    name = "store.rewound"
    revision: Identifier


# -- the log itself


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointKept(Event):
    """The other side vouched for its log up to a line; the subject is that side."""

    name = "checkpoint.kept"
    sequence: Count
    head: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryContradicted(Event):
    """The other side signed two histories that cannot both be true; the subject is that side."""

    name = "audit.contradicted"
    reason: Reason
    sequence: Count
    head: Digest
