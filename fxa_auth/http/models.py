"""The request models: which parameters each endpoint takes, in the order in which their faults are reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fxa_auth.certificates import check_members
from fxa_auth.http.params import (
    AuthPw,
    Code,
    Email,
    Param,
    RedirectTo,
    Resume,
    Service,
    Uid,
    WholeUid,
    duration_ms,
    email,
    flag,
    hex_bytes,
    invite_code,
    pre_verify_token,
)
from fxa_auth.records import LinkOptions


class MailedLink(Protocol):
    """Part of every model of a request that may cause a mail."""

    @property
    def service(self) -> str | None: ...

    @property
    def redirect_to(self) -> str | None: ...

    @property
    def resume(self) -> str | None: ...


def link_options(params: MailedLink) -> LinkOptions:
    return LinkOptions(params.service, params.redirect_to, params.resume)


@dataclass(frozen=True)
class EmailAndPassword:
    email: Email
    auth_pw: AuthPw


@dataclass(frozen=True)
class AccountCreate:
    email: Email
    auth_pw: AuthPw
    pre_verified: Annotated[bool, Param("preVerified", flag)] = False
    service: Service = None
    redirect_to: RedirectTo = None
    resume: Resume = None
    pre_verify_token: Annotated[str | None, Param("preVerifyToken", pre_verify_token)] = None
    invite_code: Annotated[str | None, Param("inviteCode", invite_code)] = field(default=None, repr=False)


@dataclass(frozen=True)
class AccountStatus:
    uid: WholeUid


@dataclass(frozen=True)
class NewPassword:
    auth_pw: AuthPw


@dataclass(frozen=True)
class PasswordChangeStart:
    email: Email
    old_auth_pw: Annotated[bytes, Param("oldAuthPW", hex_bytes(32, 32))]


@dataclass(frozen=True)
class PasswordChangeFinish:
    auth_pw: AuthPw
    wrap_kb: Annotated[bytes, Param("wrapKb", hex_bytes(32, 32))]


@dataclass(frozen=True)
class SendCode:
    """A mail to the account of an address."""

    email: Email
    service: Service = None
    redirect_to: RedirectTo = None
    resume: Resume = None


@dataclass(frozen=True)
class ResendEmailCode:
    """A mail to the session's account, whatever address is named."""

    service: Service = None
    redirect_to: RedirectTo = None
    resume: Resume = None
    email: Annotated[str | None, Param("email", email)] = None


@dataclass(frozen=True)
class VerifyEmailCode:
    uid: Uid
    code: Code
    service: Service = None


@dataclass(frozen=True)
class VerifyUnlockCode:
    uid: Uid
    code: Code


@dataclass(frozen=True)
class VerifyForgotCode:
    code: Code


@dataclass(frozen=True)
class CertificateSign:
    public_key: Annotated[Mapping[str, str], Param("publicKey", check_members)]
    duration_ms: Annotated[int, Param("duration", duration_ms)]


_LinkHex = Annotated[bytes, Param("code", hex_bytes(1, 16))]


@dataclass(frozen=True)
class CodeLink:
    """The query of a mailed link, which is only checked and handed on."""

    code: _LinkHex
    uid: Uid
    service: Service = None
    redirect_to: RedirectTo = None
    resume: Resume = None


@dataclass(frozen=True)
class WholeCodeLink(CodeLink):
    """The same as it was mailed: what is shorter was cut off on its way to the browser."""

    code: Code
    uid: WholeUid


@dataclass(frozen=True)
class ResetLink:
    """The query of the link to choose a new password by."""

    email: Email
    code: _LinkHex
    token: Annotated[bytes, Param("token", hex_bytes(1, 32))]
    service: Service = None
    redirect_to: RedirectTo = None
    resume: Resume = None
