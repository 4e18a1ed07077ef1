"""The data-protection pack of a site: facts from its home, in the order in which an officer asks for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from client.catalog import Catalog
from client.home import SiteHome
from client.policy.reading import read_policy
from client.policy.wording import policy_in_words
from client.settings import SiteSettings
from client.store.audit import AuditLog, Persons
from client.store.clinical import Clinical
from client.store.ledger import EXPLANATIONS, Ledger
from client.store.opening import open_site_store
from client.store.plans import Plans
from shared.audit.chain import Verified, verify_chain
from shared.protection.law import legal_bases, logging
from shared.protection.organisation import OrganisationSettings
from shared.protection.pack import Grid, Pack, Section, record_of_processing
from shared.protection.persons import persons_in_words
from shared.protection.risks import remaining_risks
from shared.trust.certificates import expires_at

NEVER = (
    "Images and masks, whole or in part, prepared or not",
    "Identifiers of patients, studies and images, and hashes of them",
    "Measures of single images; dates; texts of errors; names of files",
)
RETENTION = (
    ("Prepared examples", "examples/", "until `data remove --patient` or `data forget`; overwritten then"),
    ("Catalog: view, laterality, year, vendor, keyed hashes", "site.db", "with its example"),
    ("Who was removed, when, how many", "site.db", "kept: later imports leave a withdrawn patient out"),
    ("Files being imported", "incoming/", "for as long as their import takes"),
    (
        "Weights of the last message; of each run's last two rounds what was answered, and layers that stay",
        "blobs/, rounds/",
        "until later rounds replace them; a run's last ones are kept",
    ),
    (
        "Statistics of models over the examples here, and over which examples, by random ids, they were told",
        "site.db",
        "kept: so that no two that are told differ in a few",
    ),
    ("Egress ledger and audit log", "site.db", "kept: never changed, never removed"),
    ("Keys and certificate", "keys/", "until the next renewal or `leave`"),
    ("Logs of the service", "logs/", "rotated by the hospital; they name no patient and no file"),
)


def describe(home: SiteHome, *, at: datetime) -> Pack:
    """The pack as the site stands now.

    Parameters
    ----------
    at
        Now, with a time zone.

    Raises
    ------
    HomeError, StoreError
        The home cannot be read.
    PolicyFileError
        Its policy cannot be read.
    """
    settings = home.settings()
    organisation = settings.organisation
    engine = open_site_store(home.folder)
    log, sent = AuditLog(engine), Ledger(engine)
    return Pack(
        title=home.membership().site_name if home.has_joined() else "This site",
        side="the site of a hospital",
        at=at,
        settings_file="site.toml",
        open_points=tuple(organisation.open_points()),
        sections=(
            _in_short(home),
            _record(home, organisation, encrypted=settings.intake.encrypted),
            _data(home.folder, encrypted=settings.intake.encrypted),
            _leaves(sent, home),
            *_clinic(settings, num_known=Clinical(engine).num_patients()),
            _policy(home),
            _plans(Plans(engine)),
            Section(
                title="How long everything is kept",
                grids=(Grid(title="", head=("What", "Where in the home", "How long"), rows=RETENTION),),
            ),
            _measures(home, log, encrypted=settings.intake.encrypted),
            persons_in_words(Persons(engine).all()),
            logging(Counter(line.name for line in log.lines())),
            legal_bases(organisation),
            remaining_risks(),
        ),
    )


def _in_short(home: SiteHome) -> Section:
    member = (
        f"It takes part in the federation '{home.membership().coordinator_name}' under the name "
        f"'{home.membership().site_name}'."
        if home.has_joined()
        else "It has not joined a federation: nothing leaves."
    )
    return Section(
        title="In short",
        words=(
            "Mammograms of this hospital are prepared, stripped of every identifier and kept on this "
            "computer. A neural network that measures breast density is trained on them here. What travels "
            "is the network: its weights come in, changes of its weights go out, with counts and statistics "
            f"over images. No image leaves. {member}",
        ),
    )


def _record(home: SiteHome, organisation: OrganisationSettings, *, encrypted: bool) -> Section:
    recipient = (
        f"The coordinator of '{home.membership().coordinator_name}' at {home.membership().transfer_address}; "
        "nobody else. It receives what stands under 'What leaves'"
        if home.has_joined()
        else "None: the site has not joined a federation"
    )
    return record_of_processing(
        organisation,
        purpose="Training and evaluation of models that measure breast density.",
        subjects="Women whose mammograms the hospital has chosen",
        categories="Data on health: prepared pictures of breasts, masks, view, side, year, vendor, density "
        "category; keyed hashes in place of identifiers",
        recipients=recipient,
        measures="See 'Security measures'" + ("" if encrypted else "; examples rest on an encrypted volume"),
        software_retention="Until then a patient's examples are erased on request at once",
    )


def _data(home: Path, *, encrypted: bool) -> Section:
    with Catalog.open(home, encrypted=encrypted) as catalog:
        counts = catalog.counts()
    rows = [
        ("Patients", f"{counts.patients:,}"),
        ("Examples", f"{counts.examples:,}"),
        ("Of these with masks", f"{counts.labelled:,}"),
    ]
    return Section(
        title="What is kept here",
        words=("Built from an allow-list; the page on de-identification lists every element that is read.",),
        grids=(Grid(title="", head=("What", "How many"), rows=tuple(rows)),),
    )


def _leaves(ledger: Ledger, home: SiteHome) -> Section:
    lines = ledger.lines()
    messages = Counter(line.rule for line in lines)
    size_bytes: Counter[str] = Counter()
    for line in lines:
        size_bytes[line.rule] += line.size_bytes
    rows = tuple(
        (rule.value, words, f"{messages[rule]:,}", f"{size_bytes[rule] / 1e6:,.1f} MB")
        for rule, words in EXPLANATIONS.items()
    )
    egress = read_policy(home.policy_file).egress
    return Section(
        title="What leaves",
        words=(
            "Each message is a line of the egress ledger before it is sent; `mammofed-site ledger` shows "
            "them all.",
            f"Metrics that may leave: {', '.join(egress.metrics) or 'none'}. No count below "
            f"{egress.smallest_count}, and no metric over fewer images.",
            f"Never leaves: {'; '.join(NEVER).lower()}.",
        ),
        grids=(Grid(title="", head=("Rule", "Lets go", "Messages so far", "Size"), rows=rows),),
    )


def _clinic(settings: SiteSettings, *, num_known: int) -> Iterator[Section]:
    """What is measured for the clinic, and what suggestions rest on; nothing where there is neither."""
    if settings.clinic is None and settings.follow_up is None and not num_known:
        return
    kept, words = list[tuple[str, str, str]](), list[str]()
    if settings.clinic is not None:
        words.append(
            "Mammograms that are sent to the DICOM node, or that it finds in the archive, are measured; "
            f"segments, overlays and reports go to the hospital's archive '{settings.clinic.send_to}', under "
            "the patient's name, and to nobody else. Research use, not for diagnosis; no training uses it."
        )
        kept += [
            ("Images that wait to be measured", "clinic/, in clear, naming their patients", "until then"),
            ("Results that wait", "clinic/, in clear, naming their patients", "until the archive has them"),
            (
                "Which images were taken in: keyed hashes",
                "site.db",
                f"{settings.clinic.remembered_days} days",
            ),
        ]
    if settings.follow_up is not None or num_known:
        words.append(
            "What the hospital knows of patients beside their images is used for suggestions in its own "
            "reports alone, and never leaves by the federation."
        )
        told = "Age, family history, biopsies, polygenic score, lifetime risk"
        kept.append(
            (f"{told}, of {num_known:,} patients", "site.db, under their pseudonyms", "until removed")
        )
    yield Section(
        title="In the clinic",
        words=(*words, "`data remove --patient` and `data forget` take all of it along, also what waits."),
        grids=(Grid(title="", head=("What", "Where in the home", "How long"), rows=tuple(kept)),),
    )


def _policy(home: SiteHome) -> Section:
    rows = tuple(
        (rule.name, rule.words, "default" if rule.is_default else "set here")
        for rule in policy_in_words(read_policy(home.policy_file))
    )
    return Section(
        title="What the hospital allows",
        words=("`policy.toml`, enforced here whatever the coordinator asks.",),
        grids=(Grid(title="", head=("Rule", "Allows", "Stated"), rows=rows),),
    )


def _plans(plans: Plans) -> Section:
    rows = tuple(
        (
            one.plan.name,
            one.run_id,
            one.plan.sha256[:16],
            one.state.value,
            one.decided_by or "",
            "" if one.decided_at is None else _day(one.decided_at),
        )
        for one in plans.all()
    )
    return Section(
        title="Plans and what was decided about them",
        words=("A decision is tied to the plan's digest: a changed or longer plan is decided anew.",),
        grids=(
            Grid(
                title="",
                head=("Plan", "Run", "Digest", "State", "By", "On"),
                rows=rows,
                empty="No plan was offered yet.",
            ),
        ),
    )


def _measures(home: SiteHome, log: AuditLog, *, encrypted: bool) -> Section:
    checked = verify_chain(log.lines())
    chain = (
        f"whole: {checked.sequence:,} lines"
        if isinstance(checked, Verified)
        else "BROKEN: run `audit verify`"
    )
    rows = [
        ("In transit", "TLS 1.3 alone, both sides with certificates; every contribution and plan is signed"),
        ("Connections", "outward alone; nothing listens but on loopback, unless [dicom_node] is set"),
        (
            "At rest",
            "AES-256-GCM for every example, under a key of this home"
            if encrypted
            else "left to the volume that the home lies on ([intake] encrypted = false)",
        ),
        ("Software", "runs bundles of approved digest alone; no code comes from the coordinator"),
        ("Consent", "plans wait for a person's approval unless the policy says otherwise"),
        ("Audit log", f"append-only, chained by SHA-256, checkpoints with the coordinator; {chain}"),
        ("Pseudonyms", "HMAC-SHA256 under a key that was made here and never leaves"),
    ]
    if home.has_joined():
        rows.append(
            (
                "Certificate",
                f"valid until {_day(expires_at(home.membership().certificate_pem))}; renews itself",
            )
        )
    return Section(
        title="Security measures",
        words=("GDPR Article 32, as this site is configured now.",),
        grids=(Grid(title="", head=("Measure", "State"), rows=tuple(rows)),),
    )


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
