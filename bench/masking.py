"""What secure aggregation costs beside plain aggregation: `python -m bench.masking`.

One process plays all sites and the coordinator by the product's own two sides, without a network: so times
are of computing alone, each site's by itself, as sites compute at the same time. Sites that leave do so
after they have shared their secrets, which costs the coordinator most. Each sum is compared with the plain
one, to the last bit.

A site's masks are a stream for each other site, so that all masks of a round grow with the square of the
sites. Where they would be more than `--most-gigabytes`, one site masks and the others send noise: times are
the same, and there is no sum to compare.

With `--flower`, a second line of each case is Flower's legacy SecAgg+ (`bench.flower_masking`), where its
round fits into memory.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.flower_masking import FlowerCost, gigabytes, measure_flower
from client.masking import Demands, Party
from server.masking import MaskedRound
from shared.fixed_point.grid import Block, Grid, Integers
from shared.fixed_point.masked_file import read_masked, write_masked
from shared.fixed_point.sums import IntegerSum, centred, ring_bits
from shared.fixed_point.update_file import read_update, write_update
from shared.masking.records import RosterAsked, SharesAsked, SurvivorsAsked, UnmaskAsked
from shared.masking.streams import common_terms
from shared.records import Phase
from shared.trust.keys import SigningKey

MEGA = 1_000_000
ATTEMPT = hashlib.sha256(b"bench").hexdigest()
Result = TypeVar("Result")
Asked = TypeVar("Asked", RosterAsked, SharesAsked, SurvivorsAsked, UnmaskAsked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One size of update, so many sites, and how many of them leave."""

    num_values: int
    num_sites: int
    num_leaving: int
    neighbours: int | None
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one round; seconds of a site are those of one, bytes those of one update."""

    plain_bytes: int
    zstd_bytes: int
    masked_bytes: int
    messages_bytes: int
    site_plain_s: float
    site_masked_s: float
    sum_plain_s: float
    sum_masked_s: float
    unmask_s: float
    peak_mb: float


def main() -> None:
    """Measure every case in a process of its own and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.masking", description=__doc__.partition("\n")[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[2, 30], help="of values (default 2 30)")
    parser.add_argument("--sites", type=int, nargs="+", default=[3, 10, 50], help="default 3 10 50")
    parser.add_argument(
        "--dropouts", type=int, nargs="+", default=[0, 10, 30], help="in %% (default 0 10 30)"
    )
    parser.add_argument("--neighbours", type=int, help="of each site (default all)")
    parser.add_argument("--most-gigabytes", type=float, default=30, help="of all masks (default 30)")
    parser.add_argument("--flower", action="store_true", help="Flower's legacy SecAgg+ beside it")
    parser.add_argument(
        "--flower-gigabytes", type=float, default=8, help="that a round of Flower's may take (default 8)"
    )
    options = parser.parse_args()
    print(
        f"{'values':>8}{'sites':>6}{'leave':>6}{'MB up':>8}{'x 16 bit':>9}{'x zstd':>8}{'kB more':>9}", end=""
    )
    print(f"{'site s':>8}{'masked':>8}{'sum s':>8}{'masked':>8}{'unmask':>8}{'more s':>8}{'peak MB':>9}")
    seen = set()
    for millions in options.millions:
        for num_sites in options.sites:
            for percent in options.dropouts:
                num_values, leaving = int(millions * MEGA), round(num_sites * percent / 100)
                if (num_values, num_sites, leaving) in seen:
                    continue
                seen.add((num_values, num_sites, leaving))
                streams = num_sites * (min(num_sites - 1, options.neighbours or num_sites) + 1)
                case = Case(
                    num_values=num_values,
                    num_sites=num_sites,
                    num_leaving=leaving,
                    neighbours=options.neighbours,
                    is_whole=4e-9 * num_values * streams <= options.most_gigabytes,
                )
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    cost = process.submit(measure, case).result()
                _print(case, cost)
                if options.flower and gigabytes(num_values, num_sites) > options.flower_gigabytes:
                    print(f"{'Flower':>20}  takes {gigabytes(num_values, num_sites):.0f} GB: not tried")
                elif options.flower:
                    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                        _print_flower(cost, process.submit(measure_beside, case).result())


def _print(case: Case, cost: Cost) -> None:
    more = cost.site_masked_s - cost.site_plain_s + cost.sum_masked_s - cost.sum_plain_s + cost.unmask_s
    print(
        f"{case.num_values / MEGA:7g}M{case.num_sites:6}{case.num_leaving:6}{cost.masked_bytes / MEGA:8.2f}"
        f"{cost.masked_bytes / cost.plain_bytes:9.3f}{cost.masked_bytes / cost.zstd_bytes:8.3f}"
        f"{cost.messages_bytes / 1000:9.1f}{cost.site_plain_s:8.2f}{cost.site_masked_s:8.2f}"
        f"{cost.sum_plain_s:8.2f}{cost.sum_masked_s:8.2f}{cost.unmask_s:8.2f}{more:8.2f}{cost.peak_mb:9.0f}"
        + ("" if case.is_whole else "  one site's masks"),
        flush=True,
    )


def _print_flower(ours: Cost, flower: FlowerCost) -> None:
    print(
        f"{'Flower':>20}{flower.masked_bytes / MEGA:8.2f}{flower.masked_bytes / ours.plain_bytes:9.3f}"
        f"{flower.masked_bytes / ours.zstd_bytes:8.3f}{flower.messages_bytes / 1000:9.1f}"
        f"{'':8}{flower.site_masked_s:8.2f}{'':8}{flower.sum_masked_s:8.2f}{flower.unmask_s:8.2f}{'':8}"
        f"{flower.peak_mb:9.0f}",
        flush=True,
    )


def measure_beside(case: Case) -> FlowerCost:
    """The same round by Flower's legacy SecAgg+."""
    return measure_flower(
        num_values=case.num_values,
        num_sites=case.num_sites,
        num_leaving=case.num_leaving,
        neighbours=case.neighbours,
    )


def measure(case: Case) -> Cost:
    """One round without masks and one with them."""
    with tempfile.TemporaryDirectory() as folder:
        return Bench(case, Path(folder)).measure()


class Bench:
    """The files and the two sides of one case."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.grid = Grid(bits=16, shapes={"kernel": (case.num_values,)}, exponents={"kernel": -15})
        self.ring = ring_bits(16, case.num_sites)
        self.messages_bytes = 0
        self.common = common_terms(self.grid, case.num_sites)
        self.round = MaskedRound(attempt=ATTEMPT, colluding=0, neighbours=case.neighbours, common=self.common)
        self.parties = {
            f"site-{number:03}": Party(
                attempt=ATTEMPT,
                site_id=f"site-{number:03}",
                signing_key=SigningKey.generate(),
                demands=Demands(least_sites=3),
                colluding=0,
                neighbours=case.neighbours,
            )
            for number in range(case.num_sites)
        }
        self.staying = list(self.parties)[: case.num_sites - case.num_leaving]

    def measure(self) -> Cost:
        plain, zstd = self.folder / "plain", self.folder / "zstd"
        site_plain_s, _ = _timed(lambda: self._write_plain(plain, compress=False))
        self._write_plain(zstd, compress=True)
        expected = IntegerSum(self.grid)
        sum_plain_s, _ = _timed(lambda: self._add(expected, [plain] * len(self.staying), masked=False))
        prepare_s = self._share()
        masked_s, files = self._mask()
        total = IntegerSum(self.grid)
        sum_masked_s, _ = _timed(lambda: self._add(total, files, masked=True))
        for site in self.staying:
            self.round.take_masked(site)
        self.round.close(Phase.TRAIN)
        closing_s = self._sign_and_reveal()
        unmask_s, _ = _timed(lambda: self._unmask(total))
        if self.case.is_whole:
            assert np.array_equal(total.of("kernel"), expected.of("kernel"))
        return Cost(
            plain_bytes=plain.stat().st_size,
            zstd_bytes=zstd.stat().st_size,
            masked_bytes=files[0].stat().st_size,
            messages_bytes=self.messages_bytes // self.case.num_sites,
            site_plain_s=site_plain_s,
            site_masked_s=prepare_s + masked_s + closing_s,
            sum_plain_s=sum_plain_s,
            sum_masked_s=sum_masked_s,
            unmask_s=unmask_s,
            peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        )

    def _update(self, block: Block) -> Integers:
        """Integers as of an update: most of them small."""
        random = np.random.Generator(np.random.Philox(block.start))
        return (random.standard_normal(block.size, np.float32) * 900).astype(np.int16)

    def _write_plain(self, path: Path, *, compress: bool) -> None:
        with path.open("wb") as file:
            write_update(file, self.grid, map(self._update, self.grid.blocks()), compress=compress)

    def _add(self, total: IntegerSum, files: list[Path], *, masked: bool) -> None:
        for path in files:

            def read(path: Path = path) -> Iterator[NDArray[np.integer]]:
                with path.open("rb") as file:
                    if masked:
                        yield from read_masked(file, self.grid, ring=self.ring)
                    else:
                        yield from read_update(file, self.grid)

            total.add(read)

    def _share(self) -> float:
        for site, party in self.parties.items():
            keys = party.keys()
            self.messages_bytes += len(keys.to_bytes())
            self.round.take_keys(site, keys, party.signing_key.verify_key)
        self.round.close(Phase.KEYS)
        roster = self._asked(Phase.SHARES, RosterAsked)
        took = []
        for site, party in self.parties.items():
            seconds, shares = _timed(partial(party.share, roster))
            took.append(seconds)
            self.messages_bytes += len(shares.to_bytes()) + len(roster.to_bytes())
            self.round.take_shares(site, shares)
        self.round.close(Phase.SHARES)
        return max(took)

    def _mask(self) -> tuple[float, list[Path]]:
        """Seconds of the slowest site, and the uploads."""
        took, files = [], []
        for number, site in enumerate(self.staying):
            path = self.folder / f"masked-{number if self.case.is_whole else 0}"
            if number == 0 or self.case.is_whole:
                seconds, _ = _timed(partial(self._write_masked, site, path))
                took.append(seconds)
            else:
                self._accept_shares(site)
            files.append(path)
        return max(took), files

    def _accept_shares(self, site: str) -> SharesAsked:
        asked = self._asked(Phase.TRAIN, SharesAsked, site)
        self.messages_bytes += len(asked.to_bytes())
        self.parties[site].mask(asked, update_sha256=ATTEMPT, common=self.common)
        return asked

    def _write_masked(self, site: str, path: Path) -> None:
        mask = self.parties[site].mask(self._accept_shares(site), update_sha256=ATTEMPT, common=self.common)
        words = (
            self._update(block).astype(np.int32).view(np.uint32) + mask.words(block.size)
            for block in self.grid.blocks()
        )
        with path.open("wb") as file:
            write_masked(file, self.grid, words, ring=self.ring)

    def _sign_and_reveal(self) -> float:
        survivors = self._asked(Phase.SURVIVORS, SurvivorsAsked)
        took = dict.fromkeys(self.staying, 0.0)
        for site in self.staying:
            took[site], signed = _timed(partial(self.parties[site].sign, survivors))
            self.messages_bytes += len(signed.to_bytes()) + len(survivors.to_bytes())
            self.round.take_signed(site, signed)
        self.round.close(Phase.SURVIVORS)
        unmask = self._asked(Phase.UNMASK, UnmaskAsked)
        for site in self.staying:
            seconds, revealed = _timed(partial(self.parties[site].reveal, unmask))
            took[site] += seconds
            self.messages_bytes += len(revealed.to_bytes()) + len(unmask.to_bytes())
            self.round.take_revealed(site, revealed)
        return max(took.values())

    def _unmask(self, total: IntegerSum) -> None:
        if self.case.is_whole:
            self.round.unmask(total)
            return
        # What was added up is noise, which would be noticed at the first block.
        mask, sums = self.round.mask_of_sum(), total.of("kernel")
        for block in self.grid.blocks():
            part = sums[block.start : block.stop]
            part -= mask.words(block.size).view(np.int32)
            part[:] = centred(part, self.ring)

    def _asked(self, phase: Phase, kind: type[Asked], site: str = "") -> Asked:
        asked = self.round.asked(phase, site)
        assert isinstance(asked, kind)
        return asked


def _timed(work: Callable[[], Result]) -> tuple[float, Result]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    main()
