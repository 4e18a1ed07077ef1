"""When a certificate is renewed: two thirds of its life, with each site's own jitter."""

from __future__ import annotations

from datetime import timedelta

import pytest

from client.renewal import jitter_of, renewal_due
from shared.trust.issuing import Issuer, new_root, new_site_certificate
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr

NOW, DAY_S = 1_800_000_000.0, 86_400.0


def certificate(days: float) -> bytes:
    root_key = TlsKey.generate()
    return new_site_certificate(
        csr_pem=new_csr(TlsKey.generate()),
        site_id="site-1",
        issuer=Issuer(certificate_pem=new_root(federation_name="Test", key=root_key, now=NOW), key=root_key),
        now=NOW,
        life=timedelta(days=days),
    )


@pytest.mark.parametrize(
    ("days", "jitter", "due_after_days"),
    [(30, 0.0, 20), (30, 0.1, 22), (30, -0.1, 18), (3, 0.0, 2), (1, 0.0, 2 / 3), (397, 0.05, 277.9)],
)
def test_a_certificate_is_due_after_two_thirds_of_its_life_and_not_before(
    days: float, jitter: float, due_after_days: float
) -> None:
    certificate_pem = certificate(days)

    due_at = NOW + due_after_days * DAY_S
    assert not renewal_due(certificate_pem, now=due_at - 60, jitter=jitter)
    assert renewal_due(certificate_pem, now=due_at + 60, jitter=jitter)


def test_a_certificate_that_has_ended_is_due() -> None:
    assert renewal_due(certificate(1), now=NOW + 400 * DAY_S, jitter=0.1)


def test_sites_that_joined_together_renew_apart_each_always_at_its_own_time() -> None:
    jitters = [jitter_of(f"site-{number}") for number in range(200)]

    assert jitters == [jitter_of(f"site-{number}") for number in range(200)]
    assert -0.1 <= min(jitters) < -0.09
    assert 0.09 < max(jitters) <= 0.1
    assert len(set(jitters)) == len(jitters)
