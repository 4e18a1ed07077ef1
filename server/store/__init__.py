"""The coordinator's store: the only truth about sites, runs, rounds and models."""

from server.store.events import Event, Events
from server.store.federation import Federation, Site
from server.store.models import Model, ModelFile, Models
from server.store.opening import open_coordinator_store
from server.store.run import Answer, Checkpoint, Round, Run
from server.store.runs import Runs

__all__ = [
    "Answer",
    "Checkpoint",
    "Event",
    "Events",
    "Federation",
    "Model",
    "ModelFile",
    "Models",
    "Round",
    "Run",
    "Runs",
    "Site",
    "open_coordinator_store",
]
