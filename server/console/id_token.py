"""What an ID token of OpenID Connect says, once it was found to be meant for this sign-in.

Checks, in this order (OpenID Connect Core 1.0, section 3.1.3.7):

1. it is signed by a key of the provider, by an algorithm of `ALGORITHMS`: with public keys alone, so that no
   secret of this console and no token without signature passes;
2. its issuer is the provider, to the letter;
3. its audience is this console, and if there are others the token was issued to this console;
4. it has begun, and is not over;
5. its nonce is the one of this sign-in.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from server.console.desk import NotLetInError

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519", "EdDSA"),
)
LEEWAY_S = 60
MOST_CHARACTERS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """Whom a provider vouches for.

    Attributes
    ----------
    subject
        Never another person's at this issuer.
    verified_email
        In small letters; None unless the provider has verified it.
    """

    issuer: str
    subject: str
    verified_email: str | None


def read_id_token(token: str, keys: Any, *, issuer: str, client_id: str, nonce: str, now: float) -> Vouched:
    """Whom a token vouches for.

    Parameters
    ----------
    keys
        The provider's JSON Web Key Set, as it was read.
    now
        Seconds since the Unix epoch.

    Raises
    ------
    NotLetInError
        It fails a check.
    """
    try:
        # 1.
        claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=list(ALGORITHMS)).claims
        # 2. to 4.
        jwt.JWTClaimsRegistry(
            now=int(now),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        ).validate(claims)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise refused() from error
    audience, party = claims["aud"], claims.get("azp")
    is_shared = isinstance(audience, list) and len(audience) > 1
    if (is_shared or party is not None) and party != client_id:
        raise refused()
    # 5.
    told = claims.get("nonce")
    if not isinstance(told, str) or not hmac.compare_digest(told.encode(), nonce.encode()):
        raise refused()
    if not 0 < len(claims["sub"]) <= MOST_CHARACTERS:
        raise refused()
    return Vouched(issuer=issuer, subject=claims["sub"], verified_email=_verified_email(claims))


def _verified_email(claims: Mapping[str, Any]) -> str | None:
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str):
        return None
    return email.lower() if 0 < len(email) <= MOST_CHARACTERS else None


def refused() -> NotLetInError:
    """What is said of everything that is not as it should be."""
    return NotLetInError(
        "The provider's answer does not belong to this sign-in.", "Begin with it anew, or use your password."
    )
