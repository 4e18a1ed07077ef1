"""Keys: what is written, who may read it, and what a damaged or foreign file does."""

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_private_key

from shared.errors import StoreError, TamperedError, TrustError
from shared.trust.keys import NodeKey, NodePublicKey, SigningKey, TlsKey, VerifyKey

KINDS = [SigningKey, TlsKey, NodeKey]

# RFC 8032, section 7.1, test 2: public key, message, signature.
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_MESSAGE = bytes.fromhex("72")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_a_signature_of_the_standard_verifies():
    VerifyKey(RFC_PUBLIC).verify(RFC_SIGNATURE, RFC_MESSAGE)


def test_a_key_id_is_the_head_of_the_sha256_of_the_raw_key():
    # printf 3d4017c3... | xxd -r -p | sha256sum
    assert VerifyKey(RFC_PUBLIC).key_id == "39f713d0a644253f"


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_key_file_is_readable_by_its_owner_only_and_leaves_nothing_beside_it(kind, tmp_path):
    kind.generate().save(tmp_path / "key")

    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_replaces_a_world_readable_file_without_inheriting_its_mode(kind, tmp_path):
    (tmp_path / "key").write_bytes(b"old")
    (tmp_path / "key").chmod(0o644)

    kind.generate().save(tmp_path / "key")

    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", KINDS)
def test_no_repr_shows_a_secret(kind, tmp_path):
    key = kind.generate()
    key.save(tmp_path / "key")
    body = (tmp_path / "key").read_text().splitlines()[1]

    assert repr(key).startswith(kind.__name__)
    assert "object at" not in repr(key)
    assert body not in repr(key)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_key_of_another_kind_is_not_loaded(kind, other, tmp_path):
    other.generate().save(tmp_path / "key")

    if kind is other:
        kind.load(tmp_path / "key")
    else:
        with pytest.raises(TrustError):
            kind.load(tmp_path / "key")


@pytest.mark.parametrize("kind", [*KINDS, VerifyKey])
@pytest.mark.parametrize("content", [None, b"", b"\x00\xff", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_missing_or_damaged_file_is_one_clear_error_without_its_path(kind, content, tmp_path):
    path = tmp_path / "very-private-name"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(TrustError) as caught:
        kind.load(path)

    assert "very-private-name" not in caught.value.message + caught.value.hint


def test_a_key_cannot_be_saved_below_what_is_no_folder(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(StoreError):
        SigningKey.generate().save(tmp_path / "file" / "key")


def test_a_loaded_signing_key_signs_as_the_saved_one_did(tmp_path):
    key = SigningKey.generate()
    key.save(tmp_path / "private")
    key.verify_key.save(tmp_path / "public")

    signature = SigningKey.load(tmp_path / "private").sign(b"message")

    VerifyKey.load(tmp_path / "public").verify(signature, b"message")
    assert stat.S_IMODE((tmp_path / "public").stat().st_mode) == 0o644


def test_a_flipped_bit_in_message_or_signature_is_refused():
    key = SigningKey.generate()
    signature = key.sign(b"message")

    for spoiled_signature, message in (
        (bytes([signature[0] ^ 1, *signature[1:]]), b"message"),
        (signature, b"messagf"),
        (b"", b"message"),
    ):
        with pytest.raises(TamperedError):
            key.verify_key.verify(spoiled_signature, message)


def test_a_node_key_file_is_what_the_flower_supernode_loads(tmp_path):
    key = NodeKey.generate()
    key.save(tmp_path / "node")

    loaded = load_ssh_private_key((tmp_path / "node").read_bytes(), None)

    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    assert isinstance(loaded.curve, ec.SECP384R1)
    assert load_pem_public_key(key.public.to_pem()) == loaded.public_key()


def test_a_node_key_survives_its_file_and_proves_itself(tmp_path):
    key = NodeKey.generate()
    key.save(tmp_path / "node")

    signature = NodeKey.load(tmp_path / "node").sign(b"statement")

    key.public.verify(signature, b"statement")
    with pytest.raises(TamperedError):
        key.public.verify(signature, b"other statement")


def test_a_public_node_key_loses_its_comment_which_may_name_a_person():
    text = NodeKey.generate().public.text

    assert NodePublicKey(text + " jane@workstation-7").text == text


@pytest.mark.parametrize("text", ["", "ecdsa-sha2-nistp384 AAAA", "ssh-rsa AAAA", "é"])
def test_a_malformed_public_node_key_is_refused(text):
    with pytest.raises(TrustError):
        NodePublicKey(text)
