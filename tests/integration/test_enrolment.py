"""Joining a federation over real TLS on loopback: the invitation, its misuse, and those in the middle."""

import logging
import socket
import ssl
import threading
import time
from dataclasses import replace

import grpc
import pytest

from client.enrolment import enrol
from server.enrolment import CoordinatorIdentity, EnrolledSite, EnrolmentService, serve_enrolment
from shared.enrolment import enrolment_pb2, enrolment_pb2_grpc
from shared.enrolment.refusal import Refusal
from shared.enrolment.statement import PROTOCOL_VERSION, possession_statement
from shared.enrolment.token import InvitationToken, Secret, hash_secret
from shared.errors import EnrolmentError, FingerprintError, TokenError, TrustError, UnreachableError
from shared.trust.anchors import Anchors
from shared.trust.certificates import fingerprint, site_id_of
from shared.trust.issuing import Issuer, new_root, new_server_certificate
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr
from shared.trust.tls import enrolment_channel_credentials, enrolment_server_credentials, fetch_root


class Register:
    """An enrolment register in memory: one lock is its transaction."""

    def __init__(self):
        self.invited = {}
        self.refused = {}
        self.sites = {}
        self.fail_at_commit = False
        self._lock = threading.Lock()

    def enrol(self, *, secret_hash, now, keys, issue):
        with self._lock:
            if secret_hash in self.refused:
                return self.refused[secret_hash]
            if secret_hash in self.sites:
                known = self.sites[secret_hash]
                same = (keys.signing_key, keys.node_key) == (known.keys.signing_key, known.keys.node_key)
                return known if same else Refusal.USED_TOKEN
            if secret_hash not in self.invited:
                return Refusal.UNKNOWN_TOKEN
            site_id = self.invited[secret_hash]
            site = EnrolledSite(
                site_id=site_id,
                site_name=f"Hospital {site_id}",
                keys=keys,
                certificate_pem=issue(site_id),
                enrolled_at=now,
            )
            if self.fail_at_commit:
                raise OSError("disk I/O error on /var/lib/mammofed/secret-path")
            self.sites[secret_hash] = site
            return site


class Federation:
    """A coordinator's enrolment service on loopback."""

    def __init__(
        self, hosts=("127.0.0.1",), root_pem=None, foreign_root_pem=b"", issued_at=None, name="Test"
    ):
        now = issued_at or time.time()
        self.clock = time.time
        self.root_key = TlsKey.generate()
        self.root_pem = root_pem or new_root(federation_name=name, key=self.root_key, now=now)
        self.signing_key = SigningKey.generate()
        self.register = Register()
        self.enrolled = []
        self.on_enrolled = self.enrolled.append
        server_key = TlsKey.generate()
        chain_pem = new_server_certificate(
            hosts=hosts,
            key=server_key,
            root_pem=self.root_pem,
            issuer=Issuer(certificate_pem=self.root_pem, key=self.root_key),
            now=now,
        )
        self.server, self.port = serve_enrolment(
            EnrolmentService(
                coordinator=CoordinatorIdentity(
                    name="Test federation",
                    anchors=Anchors(roots_pem=(self.root_pem,), signing_key=self.signing_key.verify_key),
                    issuer=Issuer(certificate_pem=self.root_pem, key=self.root_key),
                    fleet_address="127.0.0.1:9092",
                    transfer_address="127.0.0.1:9094",
                    certificate_days=30,
                ),
                register=self.register,
                clock=self._now,
                on_enrolled=self._after,
            ),
            host="127.0.0.1",
            port=0,
            credentials=enrolment_server_credentials(chain_pem=chain_pem + foreign_root_pem, key=server_key),
        )

    def _now(self):
        return self.clock()

    def _after(self, site):
        self.on_enrolled(site)

    def invite(self, site_id="mgh"):
        secret = Secret.generate()
        self.register.invited[hash_secret(secret)] = site_id
        return self.token(secret)

    def token(self, secret):
        return InvitationToken(
            host="127.0.0.1",
            port=self.port,
            root_fingerprint=fingerprint(self.root_pem),
            site_name=None,
            secret=secret,
        )

    def stop(self):
        self.server.stop(None).wait(10)


@pytest.fixture
def federation():
    federation = Federation()
    yield federation
    federation.stop()


class Site:
    """The keys of a joining site."""

    def __init__(self):
        self.signing_key = SigningKey.generate()
        self.tls_key = TlsKey.generate()
        self.node_key = NodeKey.generate()
        self.left = []

    def join(self, token, timeout_s=10.0):
        return enrol(
            token,
            signing_key=self.signing_key,
            tls_key=self.tls_key,
            node_key=self.node_key,
            software_version="0.1.0",
            on_leaving=lambda request, names: self.left.append((request, names)),
            timeout_s=timeout_s,
        )

    def request(self, secret):
        request = enrolment_pb2.EnrolRequest(
            protocol_version=PROTOCOL_VERSION,
            secret=secret.reveal(),
            csr_pem=new_csr(self.tls_key),
            signing_public_key=self.signing_key.verify_key.raw,
            node_public_key=self.node_key.public.text,
            software_version="0.1.0",
        )
        self.prove(request)
        return request

    def prove(self, request):
        request.signing_key_proof = self.signing_key.sign(possession_statement(request))
        request.node_key_proof = self.node_key.sign(possession_statement(request))


def refusal_of(federation, request):
    credentials = enrolment_channel_credentials(root_pem=federation.root_pem)
    with (
        grpc.secure_channel(f"127.0.0.1:{federation.port}", credentials) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        enrolment_pb2_grpc.EnrolmentStub(channel).Enrol(request, timeout=10)
    return caught.value.details()


def test_an_invited_site_becomes_a_member_and_learns_all_it_needs(federation):
    site = Site()

    membership = site.join(InvitationToken.parse(federation.invite("mgh").reveal()))

    assert (membership.site_id, membership.site_name) == ("mgh", "Hospital mgh")
    assert site_id_of(membership.certificate_pem) == "mgh"
    assert membership.coordinator_name == "Test federation"
    assert membership.anchors == Anchors(
        roots_pem=(federation.root_pem,), signing_key=federation.signing_key.verify_key
    )
    assert membership.fleet_address == "127.0.0.1:9092"
    assert membership.transfer_address == "127.0.0.1:9094"
    (recorded,) = federation.enrolled
    assert recorded.keys.signing_key == site.signing_key.verify_key
    assert recorded.keys.node_key == site.node_key.public
    assert recorded.keys.software_version == "0.1.0"


def test_what_leaves_is_told_before_it_is_sent(federation):
    site, told_first = Site(), []
    federation.on_enrolled = lambda _enrolled: told_first.append(len(site.left))

    site.join(federation.invite())

    ((request, names),) = site.left
    assert told_first == [1]
    held = enrolment_pb2.EnrolRequest.FromString(request)
    assert list(names) == [field.name for field, _ in held.ListFields()]
    assert held.signing_public_key == site.signing_key.verify_key.raw


def test_nothing_leaves_to_a_server_of_another_federation(federation):
    site = Site()
    token = replace(federation.invite(), root_fingerprint="0" * 64)

    with pytest.raises(FingerprintError):
        site.join(token)

    assert site.left == []


def test_a_replayed_token_is_refused_and_the_first_site_stays(federation):
    token = federation.invite()
    Site().join(token)
    before = dict(federation.register.sites)

    with pytest.raises(TokenError, match="already used"):
        Site().join(token)

    assert federation.register.sites == before
    assert len(federation.enrolled) == 1


def test_a_lost_reply_does_not_burn_the_invitation(federation):
    site, token = Site(), federation.invite()
    first = site.join(token)

    again = site.join(token)

    assert again == first
    assert len(federation.register.sites) == 1


def test_a_site_that_asks_again_with_another_tls_key_is_refused(federation):
    site, token = Site(), federation.invite()
    site.join(token)
    site.tls_key = TlsKey.generate()

    with pytest.raises(TokenError, match="already used"):
        site.join(token)


@pytest.mark.parametrize(
    ("refusal", "kind", "words"),
    [
        (Refusal.EXPIRED_TOKEN, TokenError, "expired"),
        (Refusal.REVOKED_TOKEN, TokenError, "withdrawn"),
        (Refusal.NAME_TAKEN, EnrolmentError, "name"),
    ],
)
def test_each_refusal_of_the_register_reaches_the_person_who_joins(refusal, kind, words, federation):
    token = federation.invite()
    federation.register.refused[hash_secret(token.secret)] = refusal

    with pytest.raises(kind, match=words):
        Site().join(token)
    assert federation.register.sites == {}


def test_a_guessed_secret_is_unknown(federation):
    federation.invite()

    with pytest.raises(TokenError, match="does not know"):
        Site().join(federation.token(Secret.generate()))


def test_two_sites_that_race_for_one_token_make_one_member(federation):
    token, outcomes = federation.invite(), []

    def race():
        try:
            outcomes.append(Site().join(token).site_id)
        except TokenError as error:
            outcomes.append(error.exit_code)

    racers = [threading.Thread(target=race) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(20)

    assert sorted(map(str, outcomes)) == ["21", "21", "21", "mgh"]


def test_a_crash_while_recording_burns_no_token_and_tells_no_internals(federation):
    site, token = Site(), federation.invite()
    federation.register.fail_at_commit = True

    with pytest.raises(EnrolmentError) as caught:
        site.join(token)
    assert refusal_of(federation, site.request(token.secret)) == "internal"
    federation.register.fail_at_commit = False

    assert "secret-path" not in caught.value.message + caught.value.hint
    assert site.join(token).site_id == "mgh"


def test_a_failure_after_recording_is_cured_by_joining_again(federation):
    site, token = Site(), federation.invite()

    def fail(enrolled):
        raise ConnectionError("the fleet is not up yet")

    federation.on_enrolled = fail
    with pytest.raises(EnrolmentError):
        site.join(token)
    federation.on_enrolled = federation.enrolled.append

    assert site.join(token).site_id == "mgh"
    assert [enrolled.site_id for enrolled in federation.enrolled] == ["mgh"]


def test_stolen_public_keys_cannot_be_enrolled_by_who_lacks_their_private_halves(federation):
    victim, thief, token = Site(), Site(), federation.invite()

    for stolen in (
        {"signing_public_key": victim.signing_key.verify_key.raw},
        {"node_public_key": victim.node_key.public.text},
    ):
        request = thief.request(token.secret)
        for name, value in stolen.items():
            setattr(request, name, value)
        thief.prove(request)
        assert refusal_of(federation, request) == "no-possession"
    assert federation.register.sites == {}


def test_a_proof_made_for_another_invitation_or_request_is_refused(federation):
    site, token, other = Site(), federation.invite(), federation.invite("ismd")
    request = site.request(other.secret)
    request.secret = token.secret.reveal()
    assert refusal_of(federation, request) == "no-possession"

    request = site.request(token.secret)
    request.csr_pem = new_csr(TlsKey.generate())
    assert refusal_of(federation, request) == "no-possession"
    assert federation.register.sites == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol_version": 2}, "protocol"),
        ({"secret": b"short"}, "malformed"),
        ({"csr_pem": b"-----BEGIN CERTIFICATE REQUEST-----"}, "malformed"),
        ({"signing_public_key": b"\x00" * 31}, "malformed"),
        ({"node_public_key": "ssh-rsa AAAA"}, "malformed"),
        ({"software_version": "1" * 65}, "malformed"),
        ({"software_version": "1\n2"}, "malformed"),
        ({"signing_key_proof": b""}, "no-possession"),
        ({"node_key_proof": b"\x30\x00"}, "no-possession"),
    ],
)
def test_a_malformed_request_gets_its_reason_word_and_uses_nothing_up(changes, reason, federation):
    token = federation.invite()
    request = Site().request(token.secret)
    for name, value in changes.items():
        setattr(request, name, value)

    assert refusal_of(federation, request) == reason
    assert federation.register.sites == {}


def test_no_secret_and_no_hash_of_one_is_logged(federation, caplog):
    token = federation.invite()
    with caplog.at_level(logging.DEBUG):
        Site().join(token)
        with pytest.raises(TokenError):
            Site().join(token)

    assert "Site mgh enrolled" in caplog.text
    assert "used-token" in caplog.text
    for hidden in (token.reveal(), token.secret.reveal().hex(), hash_secret(token.secret)):
        assert hidden not in caplog.text


# -- the wrong server


def test_a_man_in_the_middle_with_another_root_never_sees_the_secret(federation):
    middle = Federation()
    token = replace(federation.invite(), port=middle.port)
    middle.register.invited[hash_secret(token.secret)] = "mgh"

    with pytest.raises(FingerprintError, match="intercepted: 'Test' issued") as caught:
        Site().join(token)
    middle.stop()

    assert "TLS inspection" in caught.value.hint
    assert middle.register.sites == {}


def test_a_man_in_the_middle_with_a_valid_public_certificate_is_refused(federation, monkeypatch, tmp_path):
    middle = Federation()
    token = replace(federation.invite(), port=middle.port)
    middle.register.invited[hash_secret(token.secret)] = "mgh"
    # As if this machine, like the whole world, trusted the authority that issued his certificate.
    store = tmp_path / "roots.pem"
    store.write_bytes(middle.root_pem)
    for variable in ("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        monkeypatch.setenv(variable, str(store))

    with pytest.raises(FingerprintError):
        Site().join(token)
    middle.stop()

    assert middle.register.sites == {}
    Site().join(federation.invite())
    assert len(federation.register.sites) == 1


def test_a_man_in_the_middle_who_shows_the_real_root_beside_his_own_chain_is_refused(federation):
    middle = Federation(foreign_root_pem=federation.root_pem)
    token = replace(federation.invite(), port=middle.port)
    middle.register.invited[hash_secret(token.secret)] = "mgh"

    with pytest.raises(FingerprintError, match="has not issued the server's own"):
        Site().join(token)
    middle.stop()

    assert middle.register.sites == {}


def test_a_forged_leaf_that_claims_the_real_root_as_issuer_is_refused(federation):
    middle = Federation(root_pem=federation.root_pem)
    token = replace(federation.invite(), port=middle.port)
    middle.register.invited[hash_secret(token.secret)] = "mgh"

    with pytest.raises(FingerprintError):
        Site().join(token)
    middle.stop()

    assert middle.register.sites == {}


def test_a_server_under_a_host_that_its_certificate_does_not_name_is_refused():
    federation = Federation(hosts=["coordinator.example.org"])

    with pytest.raises(TrustError, match="host"):
        Site().join(federation.invite())
    federation.stop()

    assert federation.register.sites == {}


@pytest.mark.parametrize(
    ("days", "message", "hint"),
    [
        (-4000, "ended 3175 days ago", "3175 days or more ahead"),
        (2, "valid only in 47 hours", "at least 47 hours behind"),
    ],
)
def test_a_clock_that_is_far_off_is_named_with_how_far(days, message, hint):
    federation = Federation(issued_at=time.time() + days * 86_400)

    with pytest.raises(TrustError, match=message) as caught:
        Site().join(federation.invite())
    federation.stop()

    assert hint in caught.value.hint
    assert federation.register.sites == {}


@pytest.mark.parametrize(("ahead_s", "words"), [(9, "9 seconds ahead of"), (-250, "250 seconds behind")])
def test_a_clock_that_flower_would_refuse_is_found_while_joining_and_joining_again_cures_it(
    ahead_s, words, federation
):
    site, token = Site(), federation.invite()
    federation.clock = lambda: time.time() - ahead_s

    with pytest.raises(TrustError, match=words) as caught:
        site.join(token)
    federation.clock = time.time

    assert "NTP" in caught.value.hint
    assert site.join(token).site_id == "mgh"


def test_another_server_at_the_address_is_told_from_an_intercepting_proxy(federation):
    stranger = Federation(hosts=["www.example.org"])
    token = replace(federation.invite(), port=stranger.port)

    with pytest.raises(FingerprintError, match="Another server answers") as caught:
        Site().join(token)
    stranger.stop()

    assert "DNS" in caught.value.hint


def test_the_issuers_name_that_an_interceptor_chose_cannot_break_the_message(federation):
    middle = Federation(name="Proxy\r\nToken accepted\x1b[32m")
    token = replace(federation.invite(), port=middle.port)

    with pytest.raises(FingerprintError) as caught:
        Site().join(token)
    middle.stop()

    assert "'ProxyToken accepted[32m'" in caught.value.message


def test_the_pinned_root_is_found_in_the_chain(federation):
    root_pem = fetch_root("127.0.0.1", federation.port, fingerprint(federation.root_pem))

    assert root_pem == federation.root_pem


def _listener(answer):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        try:
            connection, _ = listener.accept()
            with connection:
                answer(connection)
        except OSError:
            pass

    threading.Thread(target=serve, daemon=True).start()
    return listener


def _close(connection):
    pass


def _stay_silent(connection):
    connection.settimeout(10)
    while connection.recv(4096):
        pass


def _speak_http(connection):
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _refuse_modern_tls(connection):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.wrap_socket(connection, server_side=True)


@pytest.mark.parametrize("answer", [_close, _stay_silent, _speak_http, _refuse_modern_tls])
def test_a_server_that_is_no_coordinator_is_unreachable_within_the_time_given(answer):
    with _listener(answer) as listener:
        begin = time.monotonic()
        with pytest.raises(UnreachableError):
            fetch_root("127.0.0.1", listener.getsockname()[1], "00" * 32, timeout_s=1.0)

    assert time.monotonic() - begin < 3


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "a..b"])
def test_nothing_at_the_address_is_unreachable(host):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(UnreachableError):
        fetch_root(host, port, "00" * 32, timeout_s=2.0)
