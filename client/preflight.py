"""The checks that `mammofed-site check` makes before a site starts, each with its remedy."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from client.catalog import Catalog, Part
from client.enrolment import Membership, check_clock
from client.home import SiteHome
from client.policy.reading import read_policy
from client.policy.wording import policy_in_words
from client.reachability import reach
from client.standing import Standing, ask_standing, check_version
from client.training.dataset import FittedDataset
from client.training.device import choose_device, training_devices
from client.training.trainer import train
from shared.errors import ConfigError, MammofedError, NotReadyError, UnreachableError
from shared.model import initial_model
from shared.plan import ModelPlan, Plan, RoundsPlan, TrainingPlan
from shared.trust.certificates import expires_at

MIN_FREE_BYTES = 2 << 30
MIN_TRAIN_EXAMPLES = 2
STEP_EXAMPLES = 2
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
"""Here the driver has a folder for each GPU of the machine."""

_STEP_PLAN = Plan(
    name="preflight",
    rounds=RoundsPlan(count=1),
    model=ModelPlan(size="tiny", input_height_px=256, input_width_px=128),
    training=TrainingPlan(batch_size=STEP_EXAMPLES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: what was found, and what to do if it failed."""

    name: str
    passed: bool
    finding: str
    remedy: str = ""


def run_checks(home: SiteHome) -> Iterator[Check]:
    """Check one thing after the other, from the membership to a training step.

    Raises
    ------
    HomeError
        The site has not joined, so that there is nothing to check.
    """
    membership = home.membership()
    yield Check(
        name="membership",
        passed=True,
        finding=f"'{membership.site_name}' in the federation '{membership.coordinator_name}'",
    )
    yield _certificate(membership)
    for name, address in (("fleet", membership.fleet_address), ("transfer", membership.transfer_address)):
        yield _guarded(f"{name} port", partial(_reach, address, membership, home))
    yield from _standing(home)
    yield _disk(home)
    yield _guarded("device", lambda: _device(home))
    with Catalog.open(home.folder) as catalog:
        yield _data(catalog)
        yield _guarded("policy", lambda: _policy(home, catalog))
        yield _guarded("training step", lambda: _step(home, catalog))


def _guarded(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name=name, passed=True, finding=check())
    except MammofedError as error:
        return Check(name=name, passed=False, finding=error.message, remedy=error.hint)


def _certificate(membership: Membership) -> Check:
    days = (expires_at(membership.certificate_pem) - time.time()) / 86_400
    if days <= 0:
        return Check(
            name="certificate",
            passed=False,
            finding="it has expired",
            remedy="Ask the coordinator for a new invitation, and join with it from a new home folder.",
        )
    finding = f"valid for {days:.0f} more days; the running site renews it"
    return Check(name="certificate", passed=True, finding=finding)


def _reach(address: str, membership: Membership, home: SiteHome) -> str:
    return reach(address, roots_pem=membership.anchors.roots_pem, proxy=home.proxy())


def _standing(home: SiteHome) -> Iterator[Check]:
    """Membership, clock and version, by one question to the coordinator."""
    try:
        standing = ask_standing(home)
    except MammofedError as error:
        yield Check(name="standing", passed=False, finding=error.message, remedy=error.hint)
        yield _guarded("clock", _unknown)
        yield _guarded("version", _unknown)
        return
    yield Check(
        name="standing", passed=True, finding="the coordinator answers and has this site for a member"
    )
    yield _guarded("clock", partial(_clock, standing))
    yield _guarded("version", partial(check_version, standing))


def _unknown() -> str:
    raise UnreachableError(
        "it cannot be compared with the coordinator's", "Mend the standing first; then this is looked at."
    )


def _clock(standing: Standing) -> str:
    ahead_s = standing.clock_ahead_s
    check_clock(ahead_s=ahead_s)
    return f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the coordinator's"


def _disk(home: SiteHome) -> Check:
    free = shutil.disk_usage(home.folder).free
    return Check(
        name="disk",
        passed=free >= MIN_FREE_BYTES,
        finding=f"{free / 2**30:.1f} GiB free",
        remedy=f"Free at least {MIN_FREE_BYTES >> 30} GiB on the disk of the home folder.",
    )


def _device(home: SiteHome) -> str:
    settings = home.settings()
    choice, devices = settings.device, training_devices(settings.device, settings.gpus)
    device = devices[0]
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        name = torch.cuda.get_device_name(device)
        return f"{len(devices)} x {name}, {memory:.0f} GiB, CUDA {torch.version.cuda}"
    if choice == "auto" and NVIDIA_GPUS.is_dir() and any(NVIDIA_GPUS.iterdir()):
        raise ConfigError(
            "this machine has an NVIDIA GPU that torch cannot use",
            "Install torch's build with CUDA, with a driver that is new enough for it; or set "
            '`device = "cpu"` in site.toml.',
        )
    return f"CPU, {torch.get_num_threads()} threads (training is much slower than on a GPU)"


def _data(catalog: Catalog) -> Check:
    counts = catalog.counts()
    parts = ", ".join(f"{counts.by_part[part]} {part.value}" for part in Part)
    alone = sum(counts.categories_by_part.values())
    categories = f"; {alone} with a reader's category alone" if alone else ""
    return Check(
        name="data",
        passed=counts.usable(Part.TRAIN, categorised=True) >= MIN_TRAIN_EXAMPLES,
        finding=f"{counts.examples} examples of {counts.patients} patients, with masks: {parts}{categories}",
        remedy="Add mammograms with masks: `mammofed-site data add FOLDER`.",
    )


def _policy(home: SiteHome, catalog: Catalog) -> str:
    policy = read_policy(home.policy_file)
    least = max(policy.data.min_examples, policy.egress.smallest_count)
    if len(catalog.examples(Part.TRAIN, categorised=True)) < least:
        raise NotReadyError(
            f"it lets this site train on no fewer than {least} examples",
            "Add mammograms with masks, or change `data.min_examples` and `egress.smallest_count`.",
        )
    changed = sum(not rule.is_default for rule in policy_in_words(policy))
    approval = "a person approves each plan" if policy.approval == "needed" else "no person is needed"
    return f"{approval}; {changed} rule(s) other than by default"


def _step(home: SiteHome, catalog: Catalog) -> str:
    examples = [catalog.load(each) for each in catalog.examples(Part.TRAIN, categorised=True)[:STEP_EXAMPLES]]
    dataset = FittedDataset(examples, _STEP_PLAN.model)
    began = time.monotonic()
    result = train(
        initial_model(_STEP_PLAN),
        dataset,
        _STEP_PLAN,
        round_number=1,
        seed=0,
        device=choose_device(home.settings().device),
    )
    return f"loss {result.loss:.3f} after {time.monotonic() - began:.1f} s"
