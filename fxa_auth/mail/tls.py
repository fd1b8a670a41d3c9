"""TLS to a mail server: whether its certificate is believed, and if not, why not.

Twisted's own client options tell an operator no more than "certificate verify failed", so the verdict is taken down
here as OpenSSL and ``service_identity`` speak it. Whether TLS is wanted at all is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from service_identity.exceptions import CertificateError
from service_identity.hazmat import DNS_ID, DNSPattern, IPAddress_ID, IPAddressPattern, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, platformTrust, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

_VERDICTS = {
    value: name.removeprefix("ERR_").replace("_", " ").lower()
    for name, value in vars(SSL.X509VerificationCodes).items()
    if name.startswith("ERR_")
}
"""OpenSSL's verdicts on a certificate in words, such as ``cert has expired``."""


class ServerTls:
    """TLS 1.2 and up with the server of one host name or IP address; ``authorities`` as in ``SmtpServer``."""

    def __init__(self, host: str, authorities: Sequence[Certificate]) -> None:
        trust = trustRootFromCertificates(authorities) if authorities else platformTrust()
        self.host = host
        self.context: SSL.Context = CertificateOptions(trustRoot=trust).getContext()
        self.identity: DNS_ID | IPAddress_ID = IPAddress_ID(host) if _is_ip_address(host) else DNS_ID(host)

    def session(self) -> TlsSession:
        """What one connection needs."""
        return TlsSession(self)


@implementer(IOpenSSLClientConnectionCreator)
class TlsSession:
    """The TLS side of one connection. ``doubt`` is why the server's certificate is not believed, if it is not.

    Unless ``must_be_believed`` is taken away before the handshake, that fails then.
    """

    def __init__(self, server: ServerTls) -> None:
        self._server = server
        self.must_be_believed = True
        self.has_failed = False
        self.doubt: str | None = None

    @property
    def is_refused(self) -> bool:
        return self.must_be_believed and self.doubt is not None

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._server.context, None)
        if isinstance(self._server.identity, DNS_ID):
            connection.set_tlsext_host_name(self._server.host.encode("ascii"))
        connection.set_verify(SSL.VERIFY_PEER, self._judge)
        return connection

    def _judge(self, connection: SSL.Connection, certificate: X509, verdict: int, depth: int, is_good: int) -> bool:
        """OpenSSL asks for every certificate of the chain, last for the server's own, which is at depth 0."""
        if not is_good:
            self.doubt = self.doubt or _VERDICTS.get(verdict, f"verdict {verdict} of OpenSSL")
        elif depth == 0:
            self.doubt = self.doubt or self._doubt_of_name(certificate)
        return not self.is_refused

    def _doubt_of_name(self, certificate: X509) -> str | None:
        try:
            patterns = extract_patterns(certificate)
            verify_service_identity(patterns, obligatory_ids=[self._server.identity], optional_ids=[])
        except CertificateError as error:
            return f"it makes no sense ({error})"
        except VerificationError:
            names = [_name(pattern) for pattern in patterns if isinstance(pattern, DNSPattern | IPAddressPattern)]
            return f"it is for {', '.join(names) or 'no host'} and not for {self._server.host}"
        return None

    def fail(self, loss: Failure) -> str:
        """Why the handshake came to nothing, given why the connection was lost."""
        self.has_failed = True
        if self.is_refused:
            return f"certificate not believed: {self.doubt}"
        if isinstance(loss.value, SSL.Error) and loss.value.args and isinstance(loss.value.args[0], list):
            return ", ".join(reason for *_, reason in loss.value.args[0])
        return f"connection lost: {loss.getErrorMessage()}"


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _name(pattern: DNSPattern | IPAddressPattern) -> str:
    return pattern.pattern.decode("ascii", "replace") if isinstance(pattern, DNSPattern) else str(pattern.pattern)
