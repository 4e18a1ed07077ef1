"""How many files this process may have open: a robust strategy reads a round's updates beside each other."""

from __future__ import annotations

import resource

from shared.errors import AggregationError

OTHERS = 256
"""Files and connections that are open besides."""


def allow_open_files(count: int) -> None:
    """Let this process have so many more files open: raise its soft limit if the hard one lets it.

    Raises
    ------
    AggregationError
        The hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHERS
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise AggregationError(
            f"{count:,} updates cannot be read beside each other: this process may open {hard:,} files.",
            f"Let it open {needed:,} files (systemd's `LimitNOFILE=`, `ulimit -Hn`), then resume the run.",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
