"""The certificate and key by which the API speaks TLS itself (useHttps)."""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions


class TlsFileError(Exception):
    """A file that can't be used; the text is one line that names setting, path and mend."""


def server_tls(key_path: Path, cert_path: Path) -> CertificateOptions:
    """TLS 1.2 and up, from PEM files: the private key, and the certificate with its chain behind it.

    :raises TlsFileError: a file is unreadable, holds something else, or the two do not belong together
    """
    key_text, chain_text = _read("keyPath", key_path), _read("certPath", cert_path)
    try:
        # With a pass phrase given, if a wrong one, OpenSSL does not ask the terminal for it.
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, key_text, passphrase=b"")
    except (crypto.Error, ValueError):
        raise TlsFileError(f"keyPath: {key_path} holds no private key in PEM (or one under a pass phrase); name one without") from None
    try:
        end = b"-----END CERTIFICATE-----"
        parts = [part + end for part in chain_text.split(end)[:-1]]
        chain = [crypto.load_certificate(crypto.FILETYPE_PEM, part) for part in parts]
    except (crypto.Error, ValueError):
        chain = []
    if not chain:
        raise TlsFileError(f"certPath: {cert_path} holds no certificate in PEM; name one")
    options = CertificateOptions(privateKey=key, certificate=chain[0], extraCertChain=chain[1:])
    try:
        options.getContext().check_privatekey()
    except SSL.Error:
        raise TlsFileError(f"certPath: {cert_path} does not belong to the key in {key_path}; name its own") from None
    return options


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFileError(f"{setting}: cannot read {path} ({error.strerror}); name a readable PEM file") from None
