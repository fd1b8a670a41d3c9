"""The command ``fxa-auth demo URL``: one account's whole life against a running server, told step by step.

It plays the client, for a user who has just started a development server and wants to see it work: it holds the
client's half of the onepw protocol (docs/protocol.md) and signs its requests. It blocks, and knows nothing of the
server but its API.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from fxa_auth import hawk, onepw
from fxa_auth.publicurl import PublicUrl, parse_public_url
from fxa_auth.records import TokenKind
from fxa_auth.tokens import TokenKeys, derive

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers

MAIL_HELPER = "http://127.0.0.1:9001"

_TIMEOUT_S = 30
_MAIL_TIMEOUT_S = 75
"""The mail helper itself gives up after a minute."""

_QUICK_STRETCH_ROUNDS = 1000
_CERTIFICATE_DURATION_MS = 3_600_000
_LONGEST_ANSWER = 1024 * 1024


class DemoFailed(Exception):
    """A step went wrong; the text is one line that says how, and what to check."""


class Refused(DemoFailed):
    """The server answered with an error of its own; ``errno`` is the protocol's number."""

    def __init__(self, text: str, errno: int) -> None:
        super().__init__(text)
        self.errno = errno


@dataclass(frozen=True)
class ClientKeys:
    """What a client makes of its password (32 bytes each): only ``auth_pw`` is ever sent."""

    auth_pw: bytes = field(repr=False)
    unwrap_bkey: bytes = field(repr=False)


def stretch(email: str, password: str) -> ClientKeys:
    """The client's half of the password arithmetic; the address counts as it is typed."""
    salt = f"{onepw.NAMESPACE}quickStretch:{email}".encode()
    quick_stretched_pw = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _QUICK_STRETCH_ROUNDS)
    return ClientKeys(onepw.hkdf(quick_stretched_pw, "authPW", 32), onepw.hkdf(quick_stretched_pw, "unwrapBkey", 32))


def open_bundle(bundle_key: bytes, bundle: bytes) -> tuple[bytes, bytes]:
    """kA and wrapKb (32 bytes each) from the 96 bytes that /account/keys answers.

    :raises ValueError: the bundle was not made under this key
    """
    ciphertext, mac = bundle[:64], bundle[64:]
    keys = onepw.hkdf(bundle_key, "account/keys", 96)
    if len(bundle) != 96 or not hmac.compare_digest(hmac.digest(keys[:32], ciphertext, "sha256"), mac):
        raise ValueError("the key bundle is not authentic")
    plain = onepw.xor(ciphertext, keys[32:])
    return plain[:32], plain[32:]


class Api:
    """The server's API at ``public_url``, one request at a time."""

    def __init__(self, public_url: PublicUrl) -> None:
        self._public_url = public_url

    def get(self, path: str, token: TokenKeys | None = None) -> dict[str, Any]:
        """The answer to a request under /v1.

        :raises Refused: the server refuses it
        :raises DemoFailed: no server, or none of this kind, answers
        """
        return self._call("GET", f"{self._public_url.path}/v1{path}", None, token)

    def post(self, path: str, body: Mapping[str, object], token: TokenKeys | None = None) -> dict[str, Any]:
        """Like ``get``."""
        return self._call("POST", f"{self._public_url.path}/v1{path}", json.dumps(body).encode(), token)

    def well_known(self, name: str) -> dict[str, Any]:
        """A document that stands at the root of the host, whatever the public URL's path."""
        return self._call("GET", f"/.well-known/{name}", None, None)

    def _call(self, method: str, resource: str, body: bytes | None, token: TokenKeys | None) -> dict[str, Any]:
        headers = {} if body is None else {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = self._authorization(token, method, resource, body)
        url = self._public_url.origin + resource
        request = urllib.request.Request(url, body, headers, method=method)
        answer = _exchange(request, _TIMEOUT_S, "start a server with `make run`, and name its public URL")
        if not isinstance(answer, dict):
            raise DemoFailed(f"{url} answers in a way this API never does: check that this is a server of this kind")
        return answer

    def _authorization(self, token: TokenKeys, method: str, resource: str, body: bytes | None) -> str:
        """The header by which a request shows that it comes from the token's holder."""
        hash_ = None if body is None else hawk.payload_hash("application/json", body)
        unsigned = hawk.Authorization(token.id.hex(), str(int(time.time())), os.urandom(6).hex(), "", hash_, "")
        target = hawk.Target(method, resource, self._public_url.host, self._public_url.port)
        mac = hawk.request_mac(token.auth_key, unsigned, target)
        signed_hash = "" if hash_ is None else f', hash="{hash_}"'
        return f'Hawk id="{unsigned.id}", ts="{unsigned.ts}", nonce="{unsigned.nonce}"{signed_hash}, mac="{mac}"'


class Demo:
    """The account's life. ``mail_helper`` is the base URL of the server's mail helper."""

    def __init__(self, api: Api, mail_helper: str) -> None:
        self._api = api
        self._mail_helper = mail_helper
        self._email = f"demo-{os.urandom(6).hex()}@example.com"
        self._keys = stretch(self._email, os.urandom(16).hex())
        self._credentials = {"email": self._email, "authPW": self._keys.auth_pw.hex()}
        self._exists = False

    def steps(self) -> Iterator[str]:
        """Do one step after the other, and say of each in a line what came of it.

        An account that is there when a step fails is removed, if that can be done.

        :raises DemoFailed: a step went wrong; none follows
        """
        try:
            uid = self._create()
            yield f"created {self._email} with a random password: uid {uid}"
            self._verify(uid)
            yield "verified the address by the code in its mail"
            session, key_fetch = self._log_in()
            yield "logged in and got a sessionToken and a keyFetchToken"
            self._fetch_keys(key_fetch)
            yield "fetched and unwrapped the keys kA and kB, 32 bytes each; the server never sees kB"
            yield f"had a certificate signed for a fresh RSA key: {self._sign(uid, session)}"
            self._sign_out(session)
            yield "signed out: the session is refused from now on"
            self._destroy()
            yield "destroyed the account: its address is unknown again"
        finally:
            if self._exists:
                self._clean_up()

    def _create(self) -> str:
        answer = self._api.post("/account/create", self._credentials)
        self._exists = True
        return _member(answer, "uid")

    def _verify(self, uid: str) -> None:
        self._api.post("/recovery_email/verify_code", {"uid": uid, "code": self._mailed_code()})

    def _log_in(self) -> tuple[TokenKeys, TokenKeys]:
        answer = self._api.post("/account/login?keys=true", self._credentials)
        if answer.get("verified") is not True:
            raise DemoFailed("the account is not verified, though its code was accepted: look at the server's log")
        session = derive(TokenKind.SESSION, _hex_member(answer, "sessionToken"))
        return session, derive(TokenKind.KEY_FETCH, _hex_member(answer, "keyFetchToken"))

    def _fetch_keys(self, key_fetch: TokenKeys) -> tuple[bytes, bytes]:
        bundle = _hex_member(self._api.get("/account/keys", key_fetch), "bundle")
        try:
            ka, wrap_kb = open_bundle(key_fetch.bundle_key, bundle)
        except ValueError as error:
            raise DemoFailed(f"{error}: look at the server's log") from None
        return ka, onepw.xor(wrap_kb, self._keys.unwrap_bkey)

    def _sign(self, uid: str, session: TokenKeys) -> str:
        numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
        public_key = {"algorithm": "RS", "n": str(numbers.n), "e": str(numbers.e)}
        body = {"publicKey": public_key, "duration": _CERTIFICATE_DURATION_MS}
        certificate = _member(self._api.post("/certificate/sign", body, session), "cert")
        payload = _verified_payload(certificate, self._api.well_known("browserid"))
        principal, expires_ms = payload["principal"]["email"], payload["exp"]
        if payload["public-key"] != public_key or not principal.startswith(f"{uid}@"):
            raise DemoFailed("the certificate is not about this account and key: look at the server's log")
        until = datetime.fromtimestamp(expires_ms / 1000, UTC).isoformat(timespec="seconds")
        return f"{principal}, good until {until}"

    def _sign_out(self, session: TokenKeys) -> None:
        self._api.post("/session/destroy", {}, session)
        self._expect_refusal(110, lambda: self._api.get("/session/status", session))

    def _destroy(self) -> None:
        self._api.post("/account/destroy", self._credentials)
        self._exists = False
        self._expect_refusal(102, lambda: self._api.post("/account/login", self._credentials))

    def _expect_refusal(self, errno: int, call: Callable[[], object]) -> None:
        try:
            call()
        except Refused as refused:
            if refused.errno != errno:
                raise
        else:
            raise DemoFailed(f"the server accepts what it should refuse with errno {errno}: look at its log")

    def _clean_up(self) -> None:
        try:
            self._api.post("/account/destroy", self._credentials)
        except DemoFailed:
            return

    def _mailed_code(self) -> str:
        local_part = self._email.partition("@")[0]
        request = urllib.request.Request(f"{self._mail_helper}/mail/{local_part}")
        check = "only a server of the dev profile has one; --mail-helper names another"
        mails = _exchange(request, _MAIL_TIMEOUT_S, f"this is to be its mail helper: {check}")
        if not isinstance(mails, list) or not mails:
            raise DemoFailed(
                f"no mail came to {request.full_url}: check that this is the server's mail helper; {check}"
            )
        try:
            return str(mails[-1]["headers"]["x-verify-code"])
        except (KeyError, TypeError):
            raise DemoFailed(f"the mail at {request.full_url} has no code: look at the server's log") from None


# Server and helper are on this machine as a rule, where a proxy has no business.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def _exchange(request: urllib.request.Request, timeout_s: float, check: str) -> Any:
    """The JSON of the answer. ``check`` is what to say when there is nobody to give one."""
    url = request.full_url
    try:
        with _open(request, timeout=timeout_s) as response:
            content = response.read(_LONGEST_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(url, error.code, error.read(_LONGEST_ANSWER)) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise DemoFailed(f"cannot talk to {url} ({_line(reason)}): {check}") from None
    try:
        return json.loads(content)
    except ValueError:
        raise DemoFailed(f"{url} does not answer in JSON: {check}") from None


def _refusal(url: str, status: int, content: bytes) -> DemoFailed:
    try:
        body = json.loads(content)
        errno, message = int(body["errno"]), _line(body["message"])
    except (ValueError, KeyError, TypeError):
        return DemoFailed(f"{url} answers with status {status}: check that this is the public URL of the server")
    checks = {
        109: "give the URL exactly as the server's publicUrl has it, signatures are made over that",
        201: "it is still starting, or has too much to do: try again",
        999: "check that this is the public URL of the server, with its path" if status == 404 else "look at its log",
    }
    return Refused(f"{url} refuses: {message} ({status}/{errno}); {checks.get(errno, 'look at its log')}", errno)


def _verified_payload(certificate: str, support_document: Mapping[str, Any]) -> dict[str, Any]:
    """What the certificate says, once its signature is found to be that of the server's published key."""
    try:
        header, payload, signature = certificate.split(".")
        key = support_document["public-key"]
        public_key = rsa.RSAPublicNumbers(int(key["e"]), int(key["n"])).public_key()
        public_key.verify(_unbase64(signature), f"{header}.{payload}".encode(), padding.PKCS1v15(), SHA256())
        said: dict[str, Any] = json.loads(_unbase64(payload))
    except (ValueError, KeyError, TypeError, InvalidSignature):
        raise DemoFailed(
            "the certificate does not fit the key in /.well-known/browserid: check that one server answers for both"
        ) from None
    return said


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _member(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str):
        raise DemoFailed(f"an answer has no {name}: check that this is a server of this kind")
    return value


def _hex_member(answer: Mapping[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(_member(answer, name))
    except ValueError:
        raise DemoFailed(f"the {name} of an answer is not hex: check that this is a server of this kind") from None


def _line(text: object) -> str:
    """What somebody else said, on one line and harmless to a terminal."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def add_parser(subparsers: Subparsers) -> None:
    summary = "lead an account through its whole life on a running server"
    demo = subparsers.add_parser("demo", help=summary, description=summary)
    demo.add_argument("url", metavar="URL", type=_base_url, help="the public URL of a server of the dev profile")
    demo.add_argument(
        "--mail-helper", metavar="URL", type=_base_url, default=MAIL_HELPER, help=f"its mail helper ({MAIL_HELPER})"
    )
    demo.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Exit code 0: all went well; 1: something did not, and stderr has a line on it; 130: interrupted."""
    try:
        for number, line in enumerate(Demo(Api(parse_public_url(options.url)), options.mail_helper).steps(), 1):
            print(f"{number}. {line}", flush=True)
    except DemoFailed as failure:
        print(f"fxa-auth demo: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fxa-auth demo: interrupted", file=sys.stderr)
        return 130
    print("All is well.")
    return 0


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and text.isprintable()
    except ValueError:
        is_good = False
    if not is_good or parts.query or parts.fragment or parts.username is not None or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not an http(s) URL such as http://127.0.0.1:9000")
    return text.rstrip("/")
