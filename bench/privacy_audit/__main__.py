"""Attack what leaves a hospital, and write what came of it.

    python -m bench.privacy_audit                    phantoms
    python -m bench.privacy_audit --data FOLDER      a research archive: index.csv with image, label, site
    python -m bench.privacy_audit --quick            in under three minutes, with few trials

Nothing but phantoms and open data is attacked. The report, its pictures and `figures.json` go to the output
folder; the pictures show the images of the archive, if one is given.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from bench.privacy_audit.audit import FULL, QUICK, Asked, audit
from bench.privacy_audit.material import films, phantoms
from bench.privacy_audit.report import write


def main() -> None:
    """Parse, attack, write."""
    defaults = Asked()
    parser = argparse.ArgumentParser(
        prog="python -m bench.privacy_audit",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="research archive; phantoms without it")
    parser.add_argument("--quick", action="store_true", help="few trials: shows that it works, no more")
    parser.add_argument(
        "--output", type=Path, default=Path("build/privacy-audit"), help="default build/privacy-audit"
    )
    parser.add_argument(
        "--sites", type=int, nargs="+", default=defaults.cohorts, help="hospitals in a sum (default 3 5 20)"
    )
    parser.add_argument(
        "--noise",
        type=float,
        nargs="*",
        default=defaults.noise_multipliers,
        help="standard deviation of the sum's noise over the clip norm (default 0.003 0.03 0.3)",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help=f"default {defaults.seed}")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    options = parser.parse_args()
    if min(options.sites) < 3 or min(options.noise, default=1.0) <= 0:
        parser.error("a sum is over three hospitals or more, and noise is above 0")
    asked = replace(
        defaults,
        cohorts=tuple(sorted(set(options.sites))),
        noise_multipliers=tuple(sorted(set(options.noise))),
        seed=options.seed,
    )
    effort = QUICK if options.quick else FULL
    began = time.monotonic()

    def tell(words: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {words}", file=sys.stderr, flush=True)

    tell("pictures")
    material = (
        films(options.data, seed=options.seed)
        if options.data
        else phantoms(effort.num_women, seed=options.seed)
    )
    found = audit(material, asked, effort, on_step=tell)
    page = write(found, options.output)
    tell(f"written: {page}")
    if options.json:
        print(json.dumps(found.document()))


if __name__ == "__main__":
    main()
