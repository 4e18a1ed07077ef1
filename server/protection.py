"""The data-protection pack of the coordinator: facts from its home, in the order in which an officer asks."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from server.coordinator import Coordinator
from server.home import CoordinatorHome, CoordinatorSettings
from shared.audit.chain import Verified, verify_chain
from shared.protection.law import legal_bases, logging
from shared.protection.organisation import OrganisationSettings
from shared.protection.pack import Grid, Pack, Section, record_of_processing
from shared.protection.persons import persons_in_words
from shared.protection.risks import remaining_risks
from shared.trust.certificates import expires_at

RECEIVED = (
    ("Public keys, a certificate request, the software's version", "at joining and at each renewal"),
    ("Changes of weights, in the names, shapes and types that were sent out", "every round, from every site"),
    (
        "Counts of examples and statistics over images, of the plan's list; where a plan lets "
        "metrics out in aggregate only, counts alone and the sums of all sites",
        "every round, from every site",
    ),
    ("Counts of labelled examples and the names of GPUs", "outside of runs, where a site's policy lets it"),
    ("The kind of an error, never its text", "when a site refuses or fails"),
    ("Where the site's audit log stands, signed", "with every answer"),
)
RETENTION = (
    ("Updates of single sites", "until their round is closed and the next checkpoint is written"),
    ("Weights of rounds", "for as long as their run is kept"),
    ("Published models with plan, manifest and signature", "kept: a model in use must stay verifiable"),
    ("Names and public keys of sites", "kept, also of revoked ones: their signatures stay verifiable"),
    ("Audit log and the sites' checkpoints", "kept: never changed, never removed"),
)


def describe(home: CoordinatorHome, *, at: datetime) -> Pack:
    """The pack as the coordinator stands now.

    Parameters
    ----------
    at
        Now, with a time zone.

    Raises
    ------
    HomeError, StoreError, TrustError
        See `Coordinator.open`.
    """
    settings = home.settings()
    organisation = settings.organisation
    coordinator = Coordinator.open(home)
    return Pack(
        title=settings.name,
        side="a coordinator",
        at=at,
        settings_file="coordinator.toml",
        open_points=tuple(organisation.open_points()),
        sections=(
            Section(
                title="In short",
                words=(
                    "The coordinator of this federation sends the weights of a network to hospitals and "
                    "averages what they make of them. It receives no image, no mask and no identifier of a "
                    "patient, and has no way to ask for one: what a site may send is fixed in the site's "
                    "own software.",
                ),
            ),
            _record(organisation, coordinator),
            Section(
                title="What is received",
                grids=(Grid(title="", head=("What", "When"), rows=RECEIVED),),
            ),
            _sites(coordinator),
            _models(coordinator),
            Section(
                title="How long everything is kept",
                grids=(Grid(title="", head=("What", "How long"), rows=RETENTION),),
            ),
            _measures(home, coordinator),
            persons_in_words(coordinator.persons.all()),
            logging(Counter(line.name for line in coordinator.audit.lines())),
            legal_bases(organisation),
            remaining_risks(),
        ),
    )


def _record(organisation: OrganisationSettings, coordinator: Coordinator) -> Section:
    active = [site.name for site in coordinator.federation.active()]
    return record_of_processing(
        organisation,
        purpose="Training and evaluation of models that measure breast density.",
        subjects="Women whose mammograms the hospitals have chosen, indirectly; operators of the sites",
        categories="None that names a patient. Updates of weights are treated as personal data as long as "
        "nobody has shown that they are not",
        recipients=f"Sites that take part get the average: {', '.join(active) or 'none yet'}",
        measures="See 'Security measures'",
        software_retention="See 'How long everything is kept'",
    )


def _sites(coordinator: Coordinator) -> Section:
    rows = tuple((site.name, site.site_id, site.state.value) for site in coordinator.federation.sites())
    return Section(
        title="Sites",
        grids=(Grid(title="", head=("Name", "Id", "State"), rows=rows, empty="No site has joined yet."),),
    )


def _models(coordinator: Coordinator) -> Section:
    rows = tuple((model.model_id, model.run_id, _day(model.created_at)) for model in coordinator.models.all())
    return Section(
        title="Published models",
        grids=(Grid(title="", head=("Model", "Run", "On"), rows=rows, empty="No model was published yet."),),
    )


def _measures(home: CoordinatorHome, coordinator: Coordinator) -> Section:
    settings = home.settings()
    checked = verify_chain(coordinator.audit.lines())
    chain = (
        f"whole: {checked.sequence:,} lines"
        if isinstance(checked, Verified)
        else "BROKEN: run `audit verify`"
    )
    return Section(
        title="Security measures",
        words=("GDPR Article 32, as this coordinator is configured now.",),
        grids=(
            Grid(
                title="",
                head=("Measure", "State"),
                rows=(
                    ("In transit", "TLS 1.3 alone; sites prove themselves by certificates and signatures"),
                    (
                        "Listeners",
                        f"ports {settings.fleet_port}, {settings.enrolment_port} and "
                        f"{settings.transfer_port} at {settings.listen}; the control port "
                        f"{settings.control_port} on loopback alone{_console(settings)}",
                    ),
                    (
                        "Certificates of sites",
                        f"live {settings.site_certificate_days} days and renew themselves; status is looked "
                        "up at every call",
                    ),
                    (
                        "Root certificate",
                        f"valid until {_day(expires_at(home.root_certificate_file.read_bytes()))}; its key "
                        + ("is here" if home.keys.root_key.exists() else "is kept offline"),
                    ),
                    ("Aggregates", "of two sites at the least; what one site sent alone is never published"),
                    ("Audit log", f"append-only, chained by SHA-256, checkpoints with the sites; {chain}"),
                ),
            ),
        ),
    )


def _console(settings: CoordinatorSettings) -> str:
    if settings.console_port is None:
        return ""
    return f"; the web console, behind passwords, at {settings.console_listen} port {settings.console_port}"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
