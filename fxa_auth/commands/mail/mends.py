"""What an operator can do about a mail that was not sent: the setting to look at, and the mend.

It goes by how far the mail got and what the server said; the server's own words are told beside it.
"""

from __future__ import annotations

from fxa_auth.config import Smtp
from fxa_auth.mail.failures import MailNotSent, Stage

_IMPLICIT_TLS_PORT = 465
_AUTHENTICATION_REQUIRED = 530


def mend(error: MailNotSent, smtp: Smtp) -> tuple[str | None, str]:
    """The name of the setting that is most likely wrong, if one is, and what to do in a few words."""
    if error.code is not None and error.code < 500:
        return "smtp.host", "the server says that this may pass: try again later, or ask who runs it"
    match error.stage:
        case Stage.RESOLVE:
            return "smtp.host", "correct the name, or let this machine look names up"
        case Stage.CONNECT:
            return "smtp.port", "nothing listens on it, or a firewall is in between: try 587, or 465 with smtp.secure"
        case Stage.GREETING | Stage.EHLO:
            return _mend_opening(error, smtp)
        case Stage.STARTTLS | Stage.TLS | Stage.CERTIFICATE:
            return _mend_tls(error, smtp)
        case Stage.AUTH:
            return _mend_auth(error, smtp)
        case Stage.ADDRESS:
            return "smtp.host", "only a server that offers SMTPUTF8 takes mails for such addresses"
        case _:
            return _mend_message(error, smtp)


def _mend_opening(error: MailNotSent, smtp: Smtp) -> tuple[str | None, str]:
    if error.code is not None and error.stage is Stage.EHLO:
        return "smtp.ehloName", "name this machine as the server wants to hear it"
    if error.code is not None:
        return "smtp.host", "the server turns this machine away: ask who runs it"
    if smtp.port == _IMPLICIT_TLS_PORT and not smtp.secure:
        return "smtp.secure", "on this port TLS begins with the first byte: set it to true"
    return "smtp.port", "that is not what a mail server does: try 587, or 465 with smtp.secure"


def _mend_tls(error: MailNotSent, smtp: Smtp) -> tuple[str | None, str]:
    if error.stage is Stage.STARTTLS and smtp.user is not None:
        return "smtp.startTls", (
            "a password goes to another machine under TLS only: use a port that has it (587, or 465 with smtp.secure), "
            "or set this to off to send it in clear"
        )
    if error.stage is Stage.STARTTLS:
        return "smtp.startTls", "use a port that has it, or set this to opportunistic"
    if error.stage is Stage.CERTIFICATE:
        return "smtp.caFile", (
            "name the server in smtp.host as its certificate does; name here the PEM file of who vouches for it, or of "
            "itself; one that has expired is for who runs the server to renew"
        )
    if smtp.secure:
        return "smtp.secure", "if TLS does not begin with the first byte on this port, set this to false"
    return "smtp.startTls", "the server's TLS is broken or older than 1.2: have it mended, or set this to off"


def _mend_auth(error: MailNotSent, smtp: Smtp) -> tuple[str | None, str]:
    if error.code is not None:
        return "smtp.user", "correct user and password; some providers want a password made for this program alone"
    return "smtp.user", "if the server needs no login, leave user and password out; if it does, try 587 or 465"


def _mend_message(error: MailNotSent, smtp: Smtp) -> tuple[str | None, str]:
    if error.code is None:
        return "smtp.replyTimeout", "the server broke off or took too long: ask who runs it, or give it more time"
    if error.code == _AUTHENTICATION_REQUIRED:
        return "smtp.user", "the server wants a login: set user and password"
    if error.stage is Stage.MAIL and smtp.return_path is not None:
        return "smtp.returnPath", "name an address from which this server takes mail"
    if error.stage is Stage.MAIL:
        return "smtp.sender", "name an address from which this server takes mail"
    if error.stage is not Stage.RCPT:
        return "smtp.sender", "the server dislikes the mail itself, or from whom it is: its words say why"
    if "relay" in error.reason.lower():
        return (
            "smtp.user",
            "the server does not relay for this machine: set user and password, or have it allowed",
        )
    return None, "correct the address; if it is right, the server's words say why it takes no mail for it"
