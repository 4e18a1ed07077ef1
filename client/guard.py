"""A second look at everything that this site is asked, whatever the coordinator says.

An announcement is followed only if

1. the site is not paused, and its policy can be read;
2. a plan was approved here for this very run, and it is this very plan;
3. the round is one of the plan's, or the count before them; it comes after those before it, from the same
   weights as before, the first one from those that the plan names, and nothing is asked for too often
   (`client.extent`);
4. it asks for no other metric than the plan names, of those of its phase, and goes on from no other run;
5. the plan still keeps to every rule of the policy, which may have changed since;
6. it comes within the site's hours.

All of it is looked at again before an update leaves, all but 3. and 4. before a contribution does; pauses,
approval and hours before every step of training, and while something is on its way.
"""

from __future__ import annotations

from datetime import UTC, datetime

from client.budget import Budget
from client.catalog import Catalog, Part
from client.enrolment import Membership
from client.extent import check_extent
from client.home import SiteHome
from client.lineage import lineage_rulings
from client.plan_states import PlanState
from client.policy.decisions import POLICY_FILE, Asked, Ruling, Site, next_opening, rulings
from client.policy.policy import Policy
from client.policy.reading import read_policy
from client.store.plans import OfferedPlan, Plans
from shared.consent.records import POLICY
from shared.errors import (
    MammofedError,
    NotApprovedError,
    NotFoundError,
    NotNowError,
    PausedError,
    PolicyError,
    PolicyFileError,
)
from shared.records import Announcement


class Guard:
    """Looks at what is asked of one site."""

    def __init__(self, home: SiteHome, plans: Plans, catalog: Catalog, budget: Budget) -> None:
        self._home = home
        self._plans = plans
        self._catalog = catalog
        self._budget = budget

    def policy(self) -> Policy:
        """The policy as it stands now. Raises PolicyFileError."""
        return read_policy(self._home.policy_file)

    def rulings(self, offered: OfferedPlan, membership: Membership) -> list[Ruling]:
        """Every rule of the policy held against an offered plan; and an extension against what it extends.

        Raises
        ------
        PolicyFileError
            The policy cannot be read.
        """
        asked = Asked(
            coordinator=membership.coordinator_name,
            run_id=offered.run_id,
            plan=offered.plan,
            bundle_sha256=offered.bundle_sha256,
        )
        site = Site(
            coordinator=membership.coordinator_name,
            num_examples=len(
                self._catalog.examples(Part.TRAIN, categorised=offered.plan.model.has_band_head)
            ),
            epsilon=self._budget.after(offered.plan, offered.run_id, self.policy().privacy.delta),
            approved_bundles=self._home.approved_bundles(),
        )
        return [*rulings(self.policy(), asked, site), *lineage_rulings(offered.plan, self._plans)]

    def broken_rules(self, offered: OfferedPlan, membership: Membership) -> tuple[str, ...]:
        """Names of the rules that an offered plan breaks; an unreadable policy counts as one."""
        try:
            return tuple(each.rule for each in self.rulings(offered, membership) if not each.met)
        except PolicyFileError:
            return (POLICY_FILE,)

    def check(self, announcement: Announcement, membership: Membership) -> None:
        """Return only if the announcement is to be followed.

        Raises
        ------
        PausedError, PolicyFileError, NotApprovedError, PolicyError, NotNowError
            It is not; see the head of this module.
        """
        # 1. and 2.
        offered = self._look(announcement)
        # 3. and 4.
        check_extent(announcement, offered, self._plans.releases_of(offered.run_id))
        # 5.
        self._check_rules(offered, membership)
        # 6.
        self._check_hours()

    def check_release(self, announcement: Announcement, membership: Membership) -> None:
        """As `check`, but for how often something was asked: of what follows on an update that has left."""
        self._check_rules(self._look(announcement), membership)
        self._check_hours()

    def check_going_on(self, announcement: Announcement) -> None:
        """Return only if what was begun may go on.

        Raises
        ------
        PausedError, PolicyFileError, NotApprovedError, NotNowError
            It may not: the site was paused or left, the approval was taken back, or the hours are over.
        """
        self._look(announcement)
        self._check_hours()

    def must_stop(self, announcement: Announcement) -> bool:
        """Whether `check_going_on` would raise."""
        try:
            self.check_going_on(announcement)
        except MammofedError:
            return True
        return False

    def needs_person(self, offered: OfferedPlan) -> bool:
        """Whether a plan was approved without a person, and the policy of now asks for one.

        Raises
        ------
        PolicyFileError
            The policy cannot be read.
        """
        by_nobody = offered.state is PlanState.APPROVED and offered.decided_by == POLICY
        return by_nobody and self.policy().approval == "needed"

    def _look(self, announcement: Announcement) -> OfferedPlan:
        self._check_pause()
        self.policy()
        return self._approved(announcement)

    def _check_rules(self, offered: OfferedPlan, membership: Membership) -> None:
        if broken := self.broken_rules(offered, membership):
            raise PolicyError(
                f"The plan breaks this site's policy: {', '.join(broken)}.",
                "`mammofed-site plan show` tells what is asked and what is allowed.",
                rules=broken,
            )

    def _check_pause(self) -> None:
        if self._home.paused_file.exists() or not self._home.has_joined():
            raise PausedError(
                "This site is paused.", "`mammofed-site resume` lets it take part in the next round."
            )

    def _check_hours(self) -> None:
        opening = next_opening(self.policy().hours, datetime.now(UTC))
        if opening is not None:
            raise NotNowError(
                "This site trains at other hours.",
                "It takes part again by itself; `hours` in policy.toml says when.",
                not_before=opening.timestamp(),
            )

    def _approved(self, announcement: Announcement) -> OfferedPlan:
        occasion = announcement.occasion
        try:
            offered = self._plans.get(occasion.run_id)
        except NotFoundError as error:
            raise NotApprovedError(
                "A round of a run was asked for whose plan was never offered.", "Tell the coordinator."
            ) from error
        if offered.state is not PlanState.APPROVED or self.needs_person(offered):
            raise NotApprovedError(
                "A round was asked for under a plan that is not approved here.",
                "`mammofed-site plan show` and `plan approve`, if it is to be.",
            )
        if offered.plan.sha256 != occasion.plan_sha256:
            raise NotApprovedError(
                "A round was asked for under another plan than the one that was approved.",
                "Tell the coordinator: a changed plan must be offered as a run of its own.",
            )
        return offered
