"""Supplements of a published model: signed by the coordinator, for this model, of this kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.published_model import publish
from shared.errors import TrustError
from shared.package import verify_package
from shared.reference import DensityLimits, Reference
from shared.supplements import Limits, Supplement, SupplementKind, verify_supplement
from shared.trust.anchors import RetiredKey
from shared.trust.keys import SigningKey

KEY = SigningKey.generate()
REFERENCE = Reference(density_limits=DensityLimits(lower=-8, upper=9, num_images=40))
LIMITS = SupplementKind.LIMITS.file


def supplement(manifest_sha256: str = "a" * 64, made_at: str = "2026-01-01T00:00:00+00:00") -> Supplement:
    content = Limits(reference=REFERENCE)
    return Supplement(model_id="m-1", manifest_sha256=manifest_sha256, made_at=made_at, content=content)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return publish(tmp_path / "model", KEY, reference=REFERENCE)


def test_what_a_supplement_tells_is_read_with_the_package(model: Path) -> None:
    package = verify_package(model, KEY.verify_key)

    assert package.reference == REFERENCE
    assert package.supplements.keys() == {SupplementKind.LIMITS, SupplementKind.CALIBRATION}
    assert "lie between -8.0 and +9.0 points, over 40 images" in "\n".join(package.lines)
    assert "Privacy: not signed yet" in package.lines


@pytest.mark.parametrize("place", [0, 0.2, 0.5, 0.8, 1])
def test_a_flipped_byte_in_a_supplement_is_refused(place: float, model: Path) -> None:
    content = bytearray((model / LIMITS).read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    (model / LIMITS).write_bytes(content)

    with pytest.raises(TrustError):
        verify_package(model, KEY.verify_key)


def test_a_supplement_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    other = publish(tmp_path / "other", KEY, model_id="test-2", reference=Reference())
    (model / LIMITS).write_bytes((other / LIMITS).read_bytes())

    with pytest.raises(TrustError, match="another model"):
        verify_package(model, KEY.verify_key)


def test_a_supplement_in_the_place_of_another_kind_is_refused(model: Path) -> None:
    (model / SupplementKind.PRIVACY.file).write_bytes((model / LIMITS).read_bytes())

    with pytest.raises(TrustError, match="tells something else"):
        verify_package(model, KEY.verify_key)


def test_a_supplement_that_somebody_else_has_signed_is_refused() -> None:
    file = supplement().signed(SigningKey.generate())

    with pytest.raises(TrustError):
        verify_supplement(file, SupplementKind.LIMITS, "a" * 64, KEY.verify_key)


def test_a_retired_key_is_good_for_what_it_signed_in_its_time_alone() -> None:
    old = SigningKey.generate()
    retired = [RetiredKey(key=old.verify_key, retired_at=1_800_000_000)]  # in 2027
    early, late = supplement(), supplement(made_at="2028-01-01T00:00:00+00:00")

    told = verify_supplement(early.signed(old), SupplementKind.LIMITS, "a" * 64, KEY.verify_key, retired)
    assert told == early
    with pytest.raises(TrustError, match="retired"):
        verify_supplement(late.signed(old), SupplementKind.LIMITS, "a" * 64, KEY.verify_key, retired)
