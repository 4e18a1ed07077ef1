"""What the clinic's DICOM node has taken in and not measured yet, and what it has to send.

An image that was acknowledged is a row and a file; so is an object until the archive has stored it. Rows name
nobody: exams, instances and patients are hashes of identifiers. An exam is of one patient, and goes when she
withdraws, also while it is being measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import (
    Column,
    Engine,
    Float,
    Integer,
    String,
    Table,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from client.store.examples import is_withdrawn
from client.store.schema import metadata
from shared.audit.log import take_write_lock
from shared.store import transaction

clinic_image = Table(
    "clinic_image",
    metadata,
    Column("exam", String(64), primary_key=True, comment="hash of study and patient, hex"),
    Column("instance", String(64), primary_key=True, comment="hash of the image's own identifier, hex"),
    Column("patient", String(64), comment="pseudonym; null where the image does not say whose it is"),
    Column("received_at", Float, nullable=False, comment="seconds since the epoch, UTC"),
)

clinic_object = Table(
    "clinic_object",
    metadata,
    Column("number", Integer, primary_key=True, comment="order of sending"),
    Column("file", String(64), nullable=False, unique=True, comment="hash of the object's identifier, hex"),
    Column("patient", String(64), comment="as of its images"),
    Column("manifest_sha256", String(64), nullable=False, comment="of the model that it was measured with"),
    Column("made_at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("refusals", Integer, nullable=False, comment="how often the archive has refused it"),
    Column("not_before", Float, nullable=False, comment="when it is tried next"),
)


clinic_known = Table(
    "clinic_known",
    metadata,
    Column("instance", String(64), primary_key=True, comment="hash of the image's own identifier, hex"),
    Column("at", Float, nullable=False, comment="when it was taken in, seconds since the epoch, UTC"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingExam:
    """The images of one exam that are not measured yet, in order of arrival.

    Attributes
    ----------
    patient
        Pseudonym; None where the images do not say whose they are.
    """

    exam: str
    patient: str | None
    instances: tuple[str, ...]
    last_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingObject:
    """An object that the archive does not have yet."""

    number: int
    file: str
    manifest_sha256: str
    refusals: int


class ClinicQueue:
    """Both queues of one site."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def num_images(self) -> int:
        """Images that wait."""
        with transaction(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(clinic_image)).scalar_one()

    def num_objects(self) -> int:
        """Objects that wait."""
        with transaction(self._engine) as connection:
            return connection.execute(select(func.count()).select_from(clinic_object)).scalar_one()

    def waiting_since(self) -> float | None:
        """When the first of what waits came or was made, seconds since the epoch; None if nothing waits."""
        with transaction(self._engine) as connection:
            first = (
                connection.execute(select(func.min(column))).scalar_one()
                for column in (clinic_image.c.received_at, clinic_object.c.made_at)
            )
            return min((at for at in first if at is not None), default=None)

    def take_in(self, exam: str, instance: str, *, patient: str | None, at: float) -> bool:
        """An image has come; one that comes again takes its place. False: its patient has withdrawn."""
        of_image = (clinic_image.c.exam == exam, clinic_image.c.instance == instance)
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            if patient is not None and is_withdrawn(connection, patient):
                return False
            connection.execute(delete(clinic_image).where(*of_image))
            values = {"exam": exam, "instance": instance, "patient": patient, "received_at": at}
            connection.execute(insert(clinic_image).values(values))
            connection.execute(delete(clinic_known).where(clinic_known.c.instance == instance))
            connection.execute(insert(clinic_known).values(instance=instance, at=at))
        return True

    def is_known(self, instance: str) -> bool:
        """Whether an image was taken in before, measured by now or not."""
        query = select(clinic_known.c.at).where(clinic_known.c.instance == instance)
        with transaction(self._engine) as connection:
            return connection.execute(query).first() is not None

    def forget_known(self, *, before: date) -> None:
        """Forget which images were taken in before a day."""
        at = datetime(before.year, before.month, before.day, tzinfo=UTC).timestamp()
        with transaction(self._engine) as connection:
            connection.execute(delete(clinic_known).where(clinic_known.c.at < at))

    def oldest_exam(self, *, quiet_since: float) -> WaitingExam | None:
        """The exam that waits longest of those of which nothing has come since then."""
        last_at = func.max(clinic_image.c.received_at)
        query = (
            select(clinic_image.c.exam, clinic_image.c.patient, last_at.label("last_at"))
            .group_by(clinic_image.c.exam, clinic_image.c.patient)
            .having(last_at <= quiet_since)
            .order_by(func.min(clinic_image.c.received_at))
        )
        with transaction(self._engine) as connection:
            first = connection.execute(query.limit(1)).first()
            if first is None:
                return None
            images = (
                select(clinic_image.c.instance)
                .where(clinic_image.c.exam == first.exam)
                .order_by(clinic_image.c.received_at)
            )
            instances = tuple(connection.execute(images).scalars())
        return WaitingExam(exam=first.exam, patient=first.patient, instances=instances, last_at=first.last_at)

    def put_off_exam(self, exam: str, *, until: float) -> None:
        """Let an exam wait as if its images had come then."""
        of_exam = clinic_image.c.exam == exam
        with transaction(self._engine) as connection:
            connection.execute(update(clinic_image).where(of_exam).values(received_at=until))

    def finish_exam(
        self, exam: WaitingExam, files: Sequence[str], *, manifest_sha256: str, at: float
    ) -> bool:
        """The objects of an exam wait to be sent, and its images wait no more: one transaction.

        An image that came again meanwhile stays. False, and nothing waits: an image was withdrawn meanwhile.
        """
        waiting = select(clinic_image.c.instance).where(clinic_image.c.exam == exam.exam)
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            if not set(exam.instances) <= set(connection.execute(waiting).scalars()):
                return False
            for file in files:
                connection.execute(delete(clinic_object).where(clinic_object.c.file == file))
                values = {"manifest_sha256": manifest_sha256, "made_at": at, "refusals": 0, "not_before": at}
                connection.execute(insert(clinic_object).values(file=file, patient=exam.patient, **values))
            connection.execute(
                delete(clinic_image).where(
                    clinic_image.c.exam == exam.exam,
                    clinic_image.c.instance.in_(exam.instances),
                    clinic_image.c.received_at <= exam.last_at,
                )
            )
        return True

    def withdraw(self, patient: str | None) -> frozenset[str]:
        """Let nothing of a patient wait any more, nor what does not say whose it is; None is everybody.

        The names of the files that go with it.
        """
        names = set[str]()
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            for table, name in ((clinic_image, "instance"), (clinic_object, "file")):
                whose = table.c.patient
                gone = true() if patient is None else or_(whose == patient, whose.is_(None))
                names |= set(connection.execute(select(table.c[name]).where(gone)).scalars())
                connection.execute(delete(table).where(gone))
        return frozenset(names)

    def due(self, *, now: float, most: int) -> list[WaitingObject]:
        """Objects whose time has come, oldest first."""
        query = (
            select(clinic_object).where(clinic_object.c.not_before <= now).order_by(clinic_object.c.number)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query.limit(most)).mappings().all()
        return [
            WaitingObject(
                number=row["number"],
                file=row["file"],
                manifest_sha256=row["manifest_sha256"],
                refusals=row["refusals"],
            )
            for row in rows
        ]

    def settle(self, one: WaitingObject) -> None:
        """An object is stored in the archive, or is not to be sent any more."""
        with transaction(self._engine) as connection:
            connection.execute(delete(clinic_object).where(clinic_object.c.number == one.number))

    def put_off(self, one: WaitingObject, *, until: float) -> None:
        """The archive has refused an object: it is tried again later."""
        values = {"refusals": one.refusals + 1, "not_before": until}
        with transaction(self._engine) as connection:
            connection.execute(
                update(clinic_object).where(clinic_object.c.number == one.number).values(**values)
            )

    def files(self) -> frozenset[str]:
        """Names of everything that waits, images and objects."""
        with transaction(self._engine) as connection:
            images = connection.execute(select(clinic_image.c.instance)).scalars().all()
            objects = connection.execute(select(clinic_object.c.file)).scalars().all()
        return frozenset([*images, *objects])
