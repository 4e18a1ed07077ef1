"""Errors for the person who must act.

Every error that reaches a person is one line saying what is wrong and one saying what to do.
No message holds patient data, a path or a secret: name the kind of thing, never its content.

    MammofedError
    ├── ConfigError        10-19  a setting, a plan or a home folder
    ├── EnrolmentError     20-29  joining a federation
    ├── TrustError         30-39  a signature, certificate or digest
    ├── IntakeError        40-59  an image, a mask or a data folder
    ├── EgressError        60-69  something that must not leave the site
    ├── AdmissionError     70-79  something that must not enter the aggregate
    ├── AggregationError   80-89  a round or a run that cannot go on
    └── StoreError         90-99  the store, the blobs or the disk

Exit codes are never reused; `docs/exit-codes.md` has one section each.
"""

from __future__ import annotations

from typing import ClassVar


class MammofedError(Exception):
    """Base of all errors that a person can act on.

    Parameters
    ----------
    message
        What is wrong, one line.
    hint
        What to do about it, one line.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(MammofedError):
    """A setting is missing, unknown or out of range."""

    exit_code = 10


class PlanError(ConfigError):
    """A plan cannot be read or holds an impossible value."""

    exit_code = 11


class HomeError(ConfigError):
    """A home folder is missing, already in use, or of the other role."""

    exit_code = 12


class ChannelError(ConfigError):
    """An alert cannot be sent: the mail server or the webhook's receiver does not take it."""

    exit_code = 17


class PolicyFileError(ConfigError):
    """The site's policy cannot be read: it refuses everything until it is corrected."""

    exit_code = 16


class EnrolmentError(MammofedError):
    """Joining a federation failed."""

    exit_code = 20


class TokenError(EnrolmentError):
    """An invitation token is malformed, unknown, used or expired."""

    exit_code = 21


class UnreachableError(EnrolmentError):
    """The coordinator does not answer at the address that was given."""

    exit_code = 22


class TrustError(MammofedError):
    """A signature, certificate or digest does not verify."""

    exit_code = 30


class FingerprintError(TrustError):
    """The coordinator's root certificate is not the one that the token names."""

    exit_code = 31


class TamperedError(TrustError):
    """Bytes do not match their signed digest."""

    exit_code = 32


class HistoryError(TrustError):
    """An audit log was altered: a line is missing, changed, or not the one that was vouched for."""

    exit_code = 33


class ContradictedError(TrustError):
    """The audit log tells of a side that has signed two histories."""

    exit_code = 34


class VersionError(TrustError):
    """The other side runs a version of mammofed that this one does not understand."""

    exit_code = 35


class ModelRevokedError(TrustError):
    """The coordinator has revoked the model: it is used for no image any more."""

    exit_code = 36


class IntakeError(MammofedError):
    """An image cannot be used."""

    exit_code = 40


class NotDicomError(IntakeError):
    """The file is not a DICOM file."""

    exit_code = 41


class UndecodableError(IntakeError):
    """The file is DICOM, but its pixels cannot be decoded."""

    exit_code = 42


class NotMammogramError(IntakeError):
    """The file is an image, but not a mammogram of a breast."""

    exit_code = 43


class ExcludedError(IntakeError):
    """The image is a mammogram of a kind that density is not measured on."""

    exit_code = 44


class MaskError(IntakeError):
    """A mask does not fit its image or holds undeclared values."""

    exit_code = 45


class EmptySourceError(IntakeError):
    """A folder holds no usable mammogram."""

    exit_code = 46


class NotReadyError(IntakeError):
    """The site's data are not enough for training."""

    exit_code = 47


class PacsError(IntakeError):
    """The hospital's archive does not answer, or does not give what was asked for."""

    exit_code = 48


class ArchiveError(IntakeError):
    """A zip or tar is encrypted, or not what an honest program packs."""

    exit_code = 49


class UnfamiliarError(IntakeError):
    """The image is unlike those that the model was trained on, so that nothing is measured on it."""

    exit_code = 50


class EgressError(MammofedError):
    """Something was about to leave the site that policy does not let go."""

    exit_code = 60


class PolicyError(EgressError):
    """The site's policy does not allow what was asked.

    Parameters
    ----------
    rules
        Names of the rules that are broken: all of the reason that leaves the site.
    """

    exit_code = 61

    def __init__(self, message: str, hint: str, *, rules: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.rules = rules


class NotApprovedError(EgressError):
    """The site has not approved the plan, or something else is asked than what it has approved."""

    exit_code = 62


class NotNowError(EgressError):
    """The site trains at other hours.

    Parameters
    ----------
    not_before
        When it does again, in seconds since the Unix epoch.
    """

    exit_code = 63

    def __init__(self, message: str, hint: str, *, not_before: float | None = None) -> None:
        super().__init__(message, hint)
        self.not_before = not_before


class PausedError(EgressError):
    """A person at the site has paused it."""

    exit_code = 64


class BundleError(EgressError):
    """The coordinator's bundle is not one that the site runs."""

    exit_code = 65


class MaskingError(EgressError):
    """What was asked could uncover this site's update, or the masks of an attempt are not here any more."""

    exit_code = 66


class AdmissionError(MammofedError):
    """A contribution must not enter the aggregate."""

    exit_code = 70


class WeightsError(AdmissionError):
    """Weights are not of the plan's network: other names, shapes or types."""

    exit_code = 71


class AggregationError(MammofedError):
    """A run cannot go on."""

    exit_code = 80


class QuorumError(AggregationError):
    """Too few sites answered."""

    exit_code = 81


class NonFiniteError(AggregationError):
    """Training or aggregation produced a value that is not finite."""

    exit_code = 82


class StoppedError(AggregationError):
    """Training was told to stop before it was done."""

    exit_code = 83


class ClockError(AggregationError):
    """The coordinator's clock is wrong: its runs wait until it is mended."""

    exit_code = 84


class StoreError(MammofedError):
    """The store or the disk refused to read or write."""

    exit_code = 90


class TransferError(StoreError):
    """A blob could not be moved."""

    exit_code = 91


class NotFoundError(StoreError):
    """Nothing by that name."""

    exit_code = 92
