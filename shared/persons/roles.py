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

    AUDIT_EXPORT = "audit.export"
    AUDIT_SHOW = "audit.show"
    CONFIGURATION_CHANGE = "configuration.change"
    CONTRIBUTION_RELEASE = "contribution.release"
    DATA_IMPORT = "data.import"
    DATA_REMOVE = "data.remove"
    DATA_SHOW = "data.show"
    FEDERATION_JOIN = "federation.join"
    KEYS_ROTATE = "keys.rotate"
    MODEL_DOWNLOAD = "model.download"
    MODEL_RELEASE = "model.release"
    MODEL_REVOKE = "model.revoke"
    MODEL_SHOW = "model.show"
    PERSON_MANAGE = "person.manage"
    PLAN_DECIDE = "plan.decide"
    POLICY_CHANGE = "policy.change"
    RUN_SHOW = "run.show"
    RUN_START = "run.start"
    RUN_STOP = "run.stop"
    SERVICE_START = "service.start"
    SITE_MANAGE = "site.manage"
    SITE_SHOW = "site.show"


MINIMAL_ROLE: Mapping[Action, Role] = {
    Action.AUDIT_EXPORT: Role.OPERATOR,
    Action.AUDIT_SHOW: Role.VIEWER,
    Action.CONFIGURATION_CHANGE: Role.ADMINISTRATOR,
    Action.CONTRIBUTION_RELEASE: Role.OPERATOR,
    Action.DATA_IMPORT: Role.OPERATOR,
    Action.DATA_REMOVE: Role.OPERATOR,
    Action.DATA_SHOW: Role.VIEWER,
    Action.FEDERATION_JOIN: Role.ADMINISTRATOR,
    Action.KEYS_ROTATE: Role.ADMINISTRATOR,
    Action.MODEL_DOWNLOAD: Role.OPERATOR,
    Action.MODEL_RELEASE: Role.ADMINISTRATOR,
    Action.MODEL_REVOKE: Role.ADMINISTRATOR,
    Action.MODEL_SHOW: Role.VIEWER,
    Action.PERSON_MANAGE: Role.ADMINISTRATOR,
    Action.PLAN_DECIDE: Role.ADMINISTRATOR,
    Action.POLICY_CHANGE: Role.ADMINISTRATOR,
    Action.RUN_SHOW: Role.VIEWER,
    Action.RUN_START: Role.OPERATOR,
    Action.RUN_STOP: Role.OPERATOR,
    Action.SERVICE_START: Role.OPERATOR,
    Action.SITE_MANAGE: Role.ADMINISTRATOR,
    Action.SITE_SHOW: Role.VIEWER,
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
