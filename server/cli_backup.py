"""`mammofed-coordinator backup` and `restore`: the coordinator in one file, and back."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from server.acting import open_for
from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from server.passphrases import PassphraseOption, read_passphrase
from shared.persons.roles import Action
from shared.terminal import Output


def add_to(app: typer.Typer) -> None:
    """Make these commands part of a command line."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="New file for the backup.")],
    passphrase_file: PassphraseOption = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Back up keys, settings, database and published models into one file; the coordinator may be running.

    The file holds the private keys, sealed by a passphrase of 12 characters or more: whoever has both is the
    coordinator. Keep the passphrase apart from the file; nobody can open it without. A database in PostgreSQL
    is not in it: dump that first.
    """
    from server.backup import back_up

    _, actor = open_for(home, Action.STORE_MANAGE)
    passphrase = read_passphrase(passphrase_file, is_new=True)
    taken = back_up(CoordinatorHome(home), target, passphrase, now=time.time(), actor=actor)
    text = f"Backed up '{taken.federation}': {taken.num_files} files, {taken.size_bytes / 1e6:.1f} MB."
    if not taken.has_database:
        text += "\nThe database in PostgreSQL is not in it: keep what `pg_dump` wrote before this, beside it."
    Output(as_json).result(asdict(taken), text)


def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `backup` has written.")],
    passphrase_file: PassphraseOption = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Make a new home of a backup, after all of it was verified. Never run two homes of one federation.

    Open invitations are withdrawn, for they may have been used since. Whoever was revoked since is a member
    again: revoke them before you start. Sites that joined, renewed or rotated keys since must join anew.
    """
    from server.backup import restore as restore_home
    from shared.persons.acting import local_name

    passphrase = read_passphrase(passphrase_file, is_new=False)
    restored = restore_home(
        archive, CoordinatorHome(home), passphrase, now=time.time(), actor=local_name(os.getuid())
    )
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(restored.taken_at))
    Output(as_json).result(
        asdict(restored),
        f"'{restored.federation}' stands as of {day}. Open invitations are withdrawn.\n"
        "Revoke again who was revoked since; then `mammofed-coordinator serve`.",
    )
