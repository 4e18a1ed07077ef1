"""`mammofed-site ledger`: everything that has left this site."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from typing import Annotated

import typer

from client.acting import require_store
from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.terminal import Output


def ledger(
    run: Annotated[str, typer.Option(help="What left in this run alone, by its id.")] = "",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Show every message that has left this site: when, what it held, and why it was let go.

    Each line was written before its message was sent. With --json, tensors come with their shapes and values
    with their names.
    """
    from client.store.ledger import EXPLANATIONS, Ledger
    from client.store.opening import open_site_store

    require_store(SiteHome(home))
    lines = Ledger(open_site_store(home)).lines(run_id=run or None)
    output = Output(as_json)
    if as_json:
        output.json([line.to_json() for line in lines])
        return
    rows = [
        {
            "line": line.number,
            "time": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at)),
            "run": line.run_id or "",
            "round": "" if line.round_number is None else f"{line.round_number} {line.phase}",
            "kind": line.kind,
            "holds": f"{len(line.tensors)} tensors" if line.tensors else f"{len(line.names)} values",
            "bytes": line.size_bytes,
            "sha256": line.sha256[:16],
            "rule": line.rule,
        }
        for line in lines
    ]
    output.table("Left this site", rows, empty="Nothing has left this site.")
    told = {line.rule for line in lines}
    for rule in (rule for rule in EXPLANATIONS if rule in told):
        output.result({}, f"{rule}: {EXPLANATIONS[rule]}")
