"""Names of sites, runs and models, and how they look."""

from __future__ import annotations

import re
import secrets

SITE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def new_site_id() -> str:
    """A random site id; it stays with the hospital through every change of key."""
    return f"site-{secrets.token_hex(6)}"


def new_run_id() -> str:
    """A random run id."""
    return f"run-{secrets.token_hex(4)}"
