"""Make three hospitals' phantom mammograms: `python -m deploy.demo.phantoms OUT --patients N --seed S`."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.demo.phantoms.three_hospitals import write_hospitals


def main() -> None:
    """Parse, then write the three hospitals one after the other."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.phantoms", description=__doc__)
    parser.add_argument("out", type=Path, help="folder that gets one folder per hospital")
    parser.add_argument("--patients", type=_positive, default=20, help="women at the largest hospital")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes")
    parser.add_argument("--spacing-mm", type=float, default=0.25, help="pixel spacing; larger is faster")
    parser.add_argument("--both-breasts", action="store_true", help="four views per woman instead of two")
    options = parser.parse_args()
    write_hospitals(
        options.out,
        patients=options.patients,
        seed=options.seed,
        spacing_mm=options.spacing_mm,
        both_breasts=options.both_breasts,
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    main()
