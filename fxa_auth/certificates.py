"""BrowserID certificates: the server's RSA key, the client's key in its normal form, and the signed statement on both.

Pure arithmetic on numbers and text (docs/protocol.md, "Identity certificates"). Nothing here knows where the
server's key is kept, who may ask for a certificate, or what time it is.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fxa_auth import errors

KEY_BITS = 2048
"""Size of the server's own key; clients may bring smaller ones."""

KEY_ID = "dev-1"
"""The kid under which the server's key stands in its JWK set; clients of the protocol expect this very name."""

_PUBLIC_EXPONENT = 65537
_BACKDATED_MS = 10_000
"""Certificates are issued this far in the past, for verifiers whose clock is a little behind."""

_MEMBERS = ("algorithm", "n", "e", "y", "p", "q", "g", "version")
_REQUIRED = {"RS": ("n", "e"), "DS": ("y", "p", "q", "g")}
_DECIMAL = re.compile(r"0*([1-9][0-9]*)", re.ASCII)
_HEX = re.compile(r"0*([1-9a-f][0-9a-f]*)", re.ASCII | re.IGNORECASE)
_MAX_DIGITS = 1300
_RSA_BITS = (512, 1024, 2048)
_DSA_BITS = (1024, 2048)


class SigningKey:
    """The server's RSA key pair, of exactly 2048 bits."""

    def __init__(self, private_key: rsa.RSAPrivateKey) -> None:
        """Raise ValueError for a key of any other size."""
        if private_key.key_size != KEY_BITS:
            raise ValueError(f"an RSA key of {private_key.key_size} bits where {KEY_BITS} are needed")
        self._private_key = private_key

    def __repr__(self) -> str:
        return f"<SigningKey of {KEY_BITS} bits>"

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(rsa.generate_private_key(_PUBLIC_EXPONENT, KEY_BITS))

    @classmethod
    def from_numbers(cls, n: int, e: int, d: int) -> SigningKey:
        """The key with modulus ``n``, public exponent ``e`` and secret exponent ``d``.

        Raise ValueError if the three are no RSA key of 2048 bits. The message holds none of the numbers.
        """
        if n.bit_length() != KEY_BITS:
            raise ValueError(f"an RSA modulus of {n.bit_length()} bits where {KEY_BITS} are needed")
        if not (1 < e < n and 1 < d < n and n % 2 and e % 2 and d % 2):
            raise ValueError("the numbers are not those of an RSA key")
        try:
            p, q = rsa.rsa_recover_prime_factors(n, e, d)
            numbers = rsa.RSAPrivateNumbers(
                p=p,
                q=q,
                d=d,
                dmp1=rsa.rsa_crt_dmp1(d, p),
                dmq1=rsa.rsa_crt_dmq1(d, q),
                iqmp=rsa.rsa_crt_iqmp(p, q),
                public_numbers=rsa.RSAPublicNumbers(e, n),
            )
            return cls(numbers.private_key())
        except ValueError:
            raise ValueError("the numbers are not those of an RSA key") from None

    def public_numbers(self) -> rsa.RSAPublicNumbers:
        return self._private_key.public_key().public_numbers()

    def secret_exponent(self) -> int:
        """``d``, for the one who writes the key to its file."""
        return self._private_key.private_numbers().d

    def signature(self, message: bytes) -> bytes:
        """The RS256 signature (RFC 7518 section 3.3) of ``message``, 256 bytes."""
        return self._private_key.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def browserid_public_key(self) -> dict[str, str]:
        """The public key as the BrowserID support document shows it: decimal numbers."""
        numbers = self.public_numbers()
        return {"algorithm": "RS", "n": str(numbers.n), "e": str(numbers.e)}

    def jwk(self) -> dict[str, str]:
        """The public key as a JSON Web Key (RFC 7517)."""
        numbers = self.public_numbers()
        return {
            "kid": KEY_ID,
            "use": "sig",
            "kty": "RSA",
            "n": _base64url(_big_endian(numbers.n)),
            "e": _base64url(_big_endian(numbers.e)),
        }


def check_members(value: object) -> dict[str, str]:
    """The members of a request's ``publicKey``, once they are known to have the declared names and types.

    This is the part of the check that every request undergoes before its account is looked at; ``normalize`` is the
    rest. An ``algorithm`` that is absent is a missing parameter (108, ``publicKey.algorithm``), like any declared
    and required one; a member of a wrong type is bad (107) under its dotted name, and so is an algorithm other than
    ``RS`` and ``DS``. A member nobody knows is 107 ``publicKey``.
    """
    if not isinstance(value, Mapping):
        raise errors.invalid_parameter("payload", ["publicKey"])
    if "algorithm" not in value:
        raise errors.missing_parameter("publicKey.algorithm")
    for name in _MEMBERS:
        if name in value and not _is_text(value[name]):
            raise errors.invalid_parameter("payload", [f"publicKey.{name}"])
        if name == "algorithm" and value[name] not in _REQUIRED:
            raise errors.invalid_parameter("payload", ["publicKey.algorithm"])
    if any(name not in _MEMBERS for name in value):
        raise errors.invalid_parameter("payload", ["publicKey"])
    return dict(value)


def normalize(members: Mapping[str, str]) -> dict[str, str]:
    """The client's key as it stands in a certificate, from what ``check_members`` gave.

    ``algorithm`` plus decimal ``n``, ``e`` (RS) or lower-case hex ``y``, ``p``, ``q``, ``g`` (DS), without leading
    zeros. ``version`` and the other algorithm's members are dropped. A missing number is 108 under its own name, a
    number or size no key of this kind can have is 107 ``publicKey``.
    """
    algorithm = members["algorithm"]
    required = _REQUIRED[algorithm]
    for name in required:
        if name not in members:
            raise errors.missing_parameter(name)
    digits = _DECIMAL if algorithm == "RS" else _HEX
    numbers = {name: _without_leading_zeros(members[name], digits) for name in required}
    fits = _is_rsa_key(numbers) if algorithm == "RS" else _is_dsa_key(numbers)
    if not fits:
        raise errors.invalid_parameter("payload", ["publicKey"])
    return {"algorithm": algorithm, **numbers}


def sign(
    key: SigningKey,
    issuer: str,
    client_key: Mapping[str, str],
    email: str,
    generation_ms: int,
    last_auth_at_s: int,
    uid: bytes,
    now_ms: int,
    duration_ms: int,
) -> str:
    """A certificate: ``issuer`` states for ``duration_ms`` from now that ``client_key`` belongs to ``uid``.

    ``issuer`` is host[:port] of the server, ``client_key`` a key in normal form, ``email`` the verified address,
    ``uid`` 16 bytes. ``iat`` and ``exp`` are in milliseconds, unlike those of RFC 7519. Members stand in the order of
    docs/protocol.md.
    """
    payload = {
        "fxa-generation": generation_ms,
        "fxa-lastAuthAt": last_auth_at_s,
        "fxa-verifiedEmail": email,
        "public-key": dict(client_key),
        "principal": {"email": f"{uid.hex()}@{issuer}"},
        "iat": now_ms - _BACKDATED_MS,
        "exp": now_ms + duration_ms,
        "iss": issuer,
    }
    signed = f"{_encoded({'alg': 'RS256'})}.{_encoded(payload)}"
    return f"{signed}.{_base64url(key.signature(signed.encode('ascii')))}"


def _is_text(value: object) -> bool:
    """Whether ``value`` is a string as parameters may be: not empty, no NUL, no lone surrogate."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _without_leading_zeros(text: str, digits: re.Pattern[str]) -> str:
    found = digits.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if found is None:
        raise errors.invalid_parameter("payload", ["publicKey"])
    return found[1].lower()


def _is_rsa_key(numbers: Mapping[str, str]) -> bool:
    modulus_bits = int(numbers["n"]).bit_length()
    e = int(numbers["e"])
    return any(abs(modulus_bits - bits) <= 1 for bits in _RSA_BITS) and e > 1 and e % 2 == 1


def _is_dsa_key(numbers: Mapping[str, str]) -> bool:
    return int(numbers["p"], 16).bit_length() in _DSA_BITS


def _encoded(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))


def _base64url(data: bytes) -> str:
    """Without padding, as in RFC 7515."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
