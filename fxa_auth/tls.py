"""The certificate and key by which the API speaks TLS itself (useHttps)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL
from twisted.internet.ssl import CertificateOptions


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
    try:
        chain: Any = load_pem_x509_certificates(chain_text)
    except ValueError:
        raise TlsFileError("certPath", "holds no certificate in PEM; name one that does") from None
    # Twisted passes these on to pyOpenSSL, which wants them as they are; its annotations name older types.
    options = CertificateOptions(privateKey=key, certificate=chain[0], extraCertChain=chain[1:])
    try:
        options.getContext().check_privatekey()
    except (SSL.Error, TypeError):  # TypeError: a kind of key that TLS has no use for
        raise TlsFileError("certPath", f"does not belong to the key in {key_path}; name its own") from None
    return options


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFileError(setting, f"cannot be read ({error.strerror}); name a readable PEM file") from None
