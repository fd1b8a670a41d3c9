"""Every error a client can be answered with: status, errno and message stand here and nowhere else.

A domain operation raises what one of the constructors below returns; the HTTP floor turns it into JSON.
Nothing in this module knows about requests. The table with every errno is in docs/api.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

INFO_URL = "https://github.com/mozilla/fxa-auth-server/blob/master/docs/api.md#response-format"

RETRY_AFTER_S = 30
"""Seconds a client is asked to wait when nothing better is known."""


_PHRASES = {413: "Request Entity Too Large"}
"""Names of a status that later versions of Python have changed."""


def phrase(status: int) -> str:
    """The name of an HTTP status."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


class ApiError(Exception):
    """An answer other than 200.

    ``status`` is the HTTP status, ``errno`` the protocol's own number, ``extras`` further members of the JSON body
    and ``headers`` header fields of the answer. ``reason`` is told to the log alone.
    """

    def __init__(
        self,
        status: int,
        errno: int,
        message: str,
        extras: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(f"{status}/{errno} {message}")
        self.status = status
        self.errno = errno
        self.message = message
        self.extras = dict(extras or {})
        self.headers = dict(headers or {})
        self.reason = reason

    def body(self) -> dict[str, Any]:
        """The JSON body, its members in the order of the protocol."""
        return {
            "code": self.status,
            "errno": self.errno,
            "error": phrase(self.status),
            "message": self.message,
            "info": INFO_URL,
            **self.extras,
        }


def account_exists(email: str) -> ApiError:
    return ApiError(400, 101, "Account already exists", {"email": email})


def unknown_account(email: str | None = None) -> ApiError:
    """``email`` as the client sent it; None where the account was looked up by its uid."""
    return ApiError(400, 102, "Unknown account", {} if email is None else {"email": email})


def incorrect_password(email: str) -> ApiError:
    """``email`` as stored."""
    return ApiError(400, 103, "Incorrect password", {"email": email})


def unverified_account() -> ApiError:
    return ApiError(400, 104, "Unverified account")


def invalid_verification_code(**extras: Any) -> ApiError:
    return ApiError(400, 105, "Invalid verification code", extras)


def invalid_json() -> ApiError:
    return ApiError(400, 106, "Invalid JSON in request body")


def invalid_parameter(source: str, keys: Sequence[str]) -> ApiError:
    """``source`` is ``payload`` or ``query``; ``keys`` are the dotted names at fault."""
    validation = {"source": source, "keys": list(keys)}
    return ApiError(400, 107, "Invalid parameter in request body", {"validation": validation})


def missing_parameter(name: str) -> ApiError:
    return ApiError(400, 108, f"Missing parameter in request body: {name}", {"param": name})


def invalid_signature(message: str = "Invalid request signature") -> ApiError:
    return ApiError(401, 109, message, headers={"WWW-Authenticate": "Hawk"})


def invalid_token() -> ApiError:
    return ApiError(401, 110, "Invalid authentication token in request signature")


def invalid_timestamp(server_time_s: int) -> ApiError:
    return ApiError(401, 111, "Invalid timestamp in request signature", {"serverTime": server_time_s})


def missing_content_length() -> ApiError:
    return ApiError(411, 112, "Missing content-length header")


def body_too_large() -> ApiError:
    return ApiError(413, 113, "Request body too large")


def too_many_requests(retry_after_s: int | None) -> ApiError:
    """None or 0 means that the policy named no time."""
    wait_s = retry_after_s or RETRY_AFTER_S
    return ApiError(429, 114, "Client has sent too many requests", {"retryAfter": wait_s}, {"Retry-After": str(wait_s)})


def invalid_nonce() -> ApiError:
    return ApiError(401, 115, "Invalid nonce in request signature")


def endpoint_gone() -> ApiError:
    return ApiError(410, 116, "This endpoint is no longer supported")


def incorrect_email_case(email: str) -> ApiError:
    """``email`` as stored: the client retries with it."""
    return ApiError(400, 120, "Incorrect email case", {"email": email})


def account_locked() -> ApiError:
    return ApiError(400, 121, "Account is locked")


def account_not_locked(email: str) -> ApiError:
    return ApiError(400, 122, "Account is not locked", {"email": email})


def service_unavailable(reason: str | None = None) -> ApiError:
    wait_s = RETRY_AFTER_S
    return ApiError(503, 201, "Service unavailable", {"retryAfter": wait_s}, {"Retry-After": str(wait_s)}, reason)


def registration_refused(reasons: Sequence[str]) -> ApiError:
    """``reasons`` are the rules that were asked, each with what it says: ``invite (the code is unknown)``."""
    return unspecified(403, f"Registration refused: {', '.join(reasons)}")


def unspecified(status: int, message: str) -> ApiError:
    """For what the protocol gives no number of its own: 404, 415, a bug (500)."""
    return ApiError(status, 999, message)
