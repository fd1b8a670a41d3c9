"""Every error of the protocol, as clients see it."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import errors
from fxa_auth.errors import ApiError

EMAIL = "Me@example.com"

TABLE: tuple[tuple[ApiError, int, int, str, dict[str, object]], ...] = (
    (errors.account_exists(EMAIL), 101, 400, "Account already exists", {"email": EMAIL}),
    (errors.unknown_account(EMAIL), 102, 400, "Unknown account", {"email": EMAIL}),
    (errors.unknown_account(), 102, 400, "Unknown account", {}),
    (errors.incorrect_password(EMAIL), 103, 400, "Incorrect password", {"email": EMAIL}),
    (errors.unverified_account(), 104, 400, "Unverified account", {}),
    (errors.invalid_verification_code(), 105, 400, "Invalid verification code", {}),
    (errors.invalid_verification_code(tries=2, ttl=9), 105, 400, "Invalid verification code", {"tries": 2, "ttl": 9}),
    (errors.invalid_json(), 106, 400, "Invalid JSON in request body", {}),
    (
        errors.invalid_parameter("payload", ("a", "b.c")), 107, 400, "Invalid parameter in request body",
        {"validation": {"source": "payload", "keys": ["a", "b.c"]}},
    ),
    (errors.missing_parameter("uid"), 108, 400, "Missing parameter in request body: uid", {"param": "uid"}),
    (errors.invalid_signature(), 109, 401, "Invalid request signature", {}),
    (errors.invalid_signature("Bad mac"), 109, 401, "Bad mac", {}),
    (errors.invalid_token(), 110, 401, "Invalid authentication token in request signature", {}),
    (errors.invalid_timestamp(17), 111, 401, "Invalid timestamp in request signature", {"serverTime": 17}),
    (errors.missing_content_length(), 112, 411, "Missing content-length header", {}),
    (errors.body_too_large(), 113, 413, "Request body too large", {}),
    (errors.too_many_requests(900), 114, 429, "Client has sent too many requests", {"retryAfter": 900}),
    (errors.too_many_requests(0), 114, 429, "Client has sent too many requests", {"retryAfter": 30}),
    (errors.too_many_requests(None), 114, 429, "Client has sent too many requests", {"retryAfter": 30}),
    (errors.invalid_nonce(), 115, 401, "Invalid nonce in request signature", {}),
    (errors.endpoint_gone(), 116, 410, "This endpoint is no longer supported", {}),
    (errors.incorrect_email_case(EMAIL), 120, 400, "Incorrect email case", {"email": EMAIL}),
    (errors.account_locked(), 121, 400, "Account is locked", {}),
    (errors.account_not_locked(EMAIL), 122, 400, "Account is not locked", {"email": EMAIL}),
    (errors.service_unavailable(), 201, 503, "Service unavailable", {"retryAfter": 30}),
    (errors.unspecified(404, "Not Found"), 999, 404, "Not Found", {}),
)  # fmt: skip
"""Error, errno, status, message, extras: the table of docs/api.md."""

STATUS_TEXTS = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    410: "Gone",
    411: "Length Required",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


class ErrorTests(SynchronousTestCase):
    """Status, body and headers."""

    def test_every_error_has_the_numbers_of_the_protocol(self) -> None:
        for error, errno, status, message, extras in TABLE:
            self.assertEqual((error.errno, error.status, error.message, error.extras), (errno, status, message, extras))

    def test_bodies_keep_the_order_of_the_protocol(self) -> None:
        for error, errno, status, message, extras in TABLE:
            body = json.loads(json.dumps(error.body()))
            self.assertEqual(list(body), ["code", "errno", "error", "message", "info", *extras])
            self.assertEqual((body["code"], body["errno"], body["message"]), (status, errno, message))
            if status in STATUS_TEXTS:
                self.assertEqual(body["error"], STATUS_TEXTS[status])
            self.assertTrue(body["info"].startswith("https://"))

    def test_only_a_pause_asked_for_carries_retry_after(self) -> None:
        """Browsers stop all calls for as long as any answer names."""
        for error, errno, _, _, extras in TABLE:
            self.assertEqual("retryAfter" in extras, errno in (114, 201), errno)
            header = str(extras["retryAfter"]) if "retryAfter" in extras else None
            self.assertEqual(error.headers.get("Retry-After"), header)

    def test_only_a_bad_signature_asks_for_hawk(self) -> None:
        for error, errno, *_ in TABLE:
            self.assertEqual(error.headers.get("WWW-Authenticate"), "Hawk" if errno == 109 else None, errno)

    def test_the_text_of_an_error_names_its_numbers_and_no_address(self) -> None:
        self.assertEqual(str(errors.incorrect_password(EMAIL)), "400/103 Incorrect password")
