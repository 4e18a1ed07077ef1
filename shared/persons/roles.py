"""Who may do what: one table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from shared.errors import TrustError


class Role(StrEnum):
    """What a person may do; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


class Action(StrEnum):
    """What a person may ask this software to do, at either side."""

    ALERT_MANAGE = "alert.manage"
    AUDIT_EXPORT = "audit.export"
    CLINIC_SERVE = "clinic.serve"
    DATA_IMPORT = "data.import"
    DATA_REMOVE = "data.remove"
    DATA_SHOW = "data.show"
    FEDERATION_JOIN = "federation.join"
    KEYS_ROTATE = "keys.rotate"
    MODEL_DOWNLOAD = "model.download"
    MODEL_RELEASE = "model.release"
    MODEL_REVOKE = "model.revoke"
    MODEL_USE = "model.use"
    PERSON_MANAGE = "person.manage"
    PLAN_DECIDE = "plan.decide"
    RUN_START = "run.start"
    RUN_STOP = "run.stop"
    SERVICE_PAUSE = "service.pause"
    SERVICE_SHOW = "service.show"
    SITE_MANAGE = "site.manage"
    STORE_MANAGE = "store.manage"


MINIMAL_ROLE: Mapping[Action, Role] = {
    Action.ALERT_MANAGE: Role.OPERATOR,
    Action.AUDIT_EXPORT: Role.OPERATOR,
    Action.CLINIC_SERVE: Role.OPERATOR,
    Action.DATA_IMPORT: Role.OPERATOR,
    Action.DATA_REMOVE: Role.OPERATOR,
    Action.DATA_SHOW: Role.VIEWER,
    Action.FEDERATION_JOIN: Role.ADMINISTRATOR,
    Action.KEYS_ROTATE: Role.ADMINISTRATOR,
    Action.MODEL_DOWNLOAD: Role.OPERATOR,
    Action.MODEL_RELEASE: Role.ADMINISTRATOR,
    Action.MODEL_REVOKE: Role.OPERATOR,
    Action.MODEL_USE: Role.VIEWER,
    Action.PERSON_MANAGE: Role.ADMINISTRATOR,
    Action.PLAN_DECIDE: Role.ADMINISTRATOR,
    Action.RUN_START: Role.OPERATOR,
    Action.RUN_STOP: Role.OPERATOR,
    Action.SERVICE_PAUSE: Role.OPERATOR,
    Action.SERVICE_SHOW: Role.VIEWER,
    Action.SITE_MANAGE: Role.ADMINISTRATOR,
    Action.STORE_MANAGE: Role.ADMINISTRATOR,
}

_RANKS = {role: rank for rank, role in enumerate(Role)}


def may(role: Role, action: Action) -> bool:
    """Whether a role is enough for an action."""
    return _RANKS[role] >= _RANKS[MINIMAL_ROLE[action]]


def require(role: Role, action: Action) -> None:
    """Let those pass whose role is enough.

    Raises
    ------
    TrustError
        It is not.
    """
    if not may(role, action):
        raise TrustError(
            f"The role '{role}' is not enough for '{action}'.",
            f"Ask somebody whose role is '{MINIMAL_ROLE[action]}'.",
        )
