"""The PEM files of TLS: certificate and key of the API itself (useHttps), and the authorities for other servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.ssl import Certificate, CertificateOptions


class TlsFileError(Exception):
    """The file that ``setting`` names can't be used; the text is one line that says why and what to do."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(problem)
        self.setting = setting


def server_tls(key_path: Path, cert_path: Path) -> CertificateOptions:
    """TLS 1.2 and up, from PEM files: the private key, and the certificate with its chain behind it.

    :raises TlsFileError: a file is unreadable, holds something else, or the two do not belong together
    """
    key_text, chain_text = _read("keyPath", key_path), _read("certPath", cert_path)
    try:
        key: Any = load_pem_private_key(key_text, None)
    except (TypeError, ValueError, UnsupportedAlgorithm):  # TypeError: it is under a pass phrase
        problem = "holds no private key in PEM, or one under a pass phrase; name one without"
        raise TlsFileError("keyPath", problem) from None
    chain: Any = _certificates("certPath", chain_text)
    # Twisted passes these on to pyOpenSSL, which wants them as they are; its annotations name older types.
    options = CertificateOptions(privateKey=key, certificate=chain[0], extraCertChain=chain[1:])
    try:
        options.getContext().check_privatekey()
    except (SSL.Error, TypeError):  # TypeError: a kind of key that TLS has no use for
        raise TlsFileError("certPath", f"does not belong to the key in {key_path}; name its own") from None
    return options


def authorities(setting: str, path: Path) -> tuple[Certificate, ...]:
    """The certificates in a PEM file, one at least. A server's own, which nobody else has signed, will do.

    :raises TlsFileError: the file that ``setting`` names is unreadable or holds something else
    """
    return tuple(Certificate(X509.from_cryptography(each)) for each in _certificates(setting, _read(setting, path)))


def _certificates(setting: str, text: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise TlsFileError(setting, "holds no certificate in PEM; name one that does") from None


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFileError(setting, f"cannot be read ({error.strerror}); name a readable PEM file") from None
