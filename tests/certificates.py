"""Throw-away certificates for tests: authorities, servers that they vouch for, and servers that nobody does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import CertificateOptions


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    name: str
    certificate: x509.Certificate
    key: EllipticCurvePrivateKey = field(repr=False)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self._key_pem(NoEncryption())

    def locked_key_pem(self, pass_phrase: bytes) -> bytes:
        return self._key_pem(BestAvailableEncryption(pass_phrase))

    def _key_pem(self, encryption: KeySerializationEncryption) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def options(self, **more: Any) -> CertificateOptions:
        """For a server of Twisted, whose annotations name older types."""
        certificate: Any = self.certificate
        key: Any = self.key
        return CertificateOptions(privateKey=key, certificate=certificate, **more)

    def file(self, make_path: Callable[[], str]) -> str:
        """The name of a PEM file with certificate and key; ``make_path`` is a test's ``mktemp``."""
        path = Path(make_path()).absolute()
        path.write_bytes(self.pem + self.key_pem)
        return str(path)


def issue(
    name: str,
    *hosts: str,
    issuer: Issued | None = None,
    is_authority: bool = False,
    expires_in: timedelta = timedelta(days=1),
) -> Issued:
    """A certificate for these host names and IP addresses; without an ``issuer`` nobody has signed it but itself."""
    key = generate_private_key(SECP256R1())
    names: list[x509.GeneralName] = [_general_name(host) for host in hosts]
    builder = (
        x509.CertificateBuilder()
        .subject_name(_distinguished_name(name))
        .issuer_name(_distinguished_name(name if issuer is None else issuer.name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=2))
        .not_valid_after(datetime.now(UTC) + expires_in)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Issued(name, builder.sign(key if issuer is None else issuer.key, SHA256()), key)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _distinguished_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
