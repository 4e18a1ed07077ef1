"""The coordinator's store: the only truth about sites, runs, rounds and models."""

from server.store.audit import AuditLog, Persons
from server.store.federation import Federation, Site
from server.store.models import Model, ModelFile, Models
from server.store.opening import open_coordinator_store
from server.store.outcomes import Outcomes
from server.store.run import Answer, Checkpoint, Round, Run, Timing
from server.store.runs import Runs

__all__ = [
    "Answer",
    "AuditLog",
    "Checkpoint",
    "Federation",
    "Model",
    "ModelFile",
    "Models",
    "Outcomes",
    "Persons",
    "Round",
    "Run",
    "Runs",
    "Site",
    "Timing",
    "open_coordinator_store",
]
