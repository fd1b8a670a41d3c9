"""Nothing secret of an account's whole life is in the database, its dumps or the log, however it is written."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric import rsa
from fxa.crypto import derive_key, xor
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import onepw
from fxa_auth.records import EventKind
from tests.acceptance.daemon import Daemon, started
from tests.acceptance.smtp_server import SmtpServer
from tests.acceptance.wire import (
    PASSWORD,
    Answer,
    Token,
    Wire,
    auth_pw,
    credentials,
    mailed_code,
    new_email,
    stretched,
    unbundled,
)

SECOND_PASSWORD = "incorrect mule capacitor clip"
THIRD_PASSWORD = "unlikely donkey diode nail"

ReadCode = Callable[[str, str, int], str]
"""The code in the so manieth mail to an address, by the name of its header."""


def disguises(secret: bytes) -> Iterator[bytes]:
    """The secret as it may stand in a file: raw, hex, in Python's notation, base64 of both alphabets anywhere within
    something longer."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield repr(secret)[2:-1].encode()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret)
        whole = encoded[(0, 2, 3)[before] : len(encoded) - (4 if (before + len(secret)) % 3 else 0)]
        yield whole
        yield whole.replace(b"+", b"-").replace(b"/", b"_")


def found_in(text: bytes, secrets: Mapping[str, bytes]) -> list[str]:
    """The names of the secrets that stand in the text."""
    return [name for name, secret in secrets.items() if any(form in text for form in disguises(secret))]


class Life:
    """An account's whole life, which leaves something of every kind lying about, and all secrets it got to know."""

    def __init__(self, wire: Wire, read_code: ReadCode) -> None:
        self._wire = wire
        self._read_code = read_code
        self.email = new_email()
        self.uid = ""
        self.secrets: dict[str, bytes] = {}
        self.last_wrap_kb = b""

    def sign_up(self) -> None:
        self._learn_password("first", PASSWORD)
        created = self._post("/account/create?keys=true", credentials(self.email))
        self.uid = created.body["uid"]
        self._learn(created, "sessionToken", "keyFetchToken")
        code = self._mailed("x-verify-code", 1)
        self._post("/recovery_email/verify_code", {"uid": self.uid, "code": code})
        self._fetch_keys(created, PASSWORD, "created")

    def sign_in(self, password: str, name: str) -> Token:
        """Also leaves a keyFetchToken that nobody uses."""
        login = self._post("/account/login?keys=true", credentials(self.email, password))
        session, _ = self._learn(login, "sessionToken", "keyFetchToken", at=name)
        return session

    def use(self, session: Token) -> None:
        n = rsa.generate_private_key(65537, 1024).public_key().public_numbers().n
        key = {"algorithm": "RS", "n": str(n), "e": "65537"}
        self._post("/certificate/sign", {"publicKey": key, "duration": 60_000}, session)
        assert self._wire.get("/session/status", session).status == 200

    def change_password(self) -> None:
        self._learn_password("second", SECOND_PASSWORD)
        start = self._start_change(PASSWORD)
        _, token = self._learn(start, "keyFetchToken", "passwordChangeToken", at="change")
        kb = self._fetch_keys(start, PASSWORD, "changing")
        wrap_kb = xor(kb, derive_key(stretched(self.email, SECOND_PASSWORD), "unwrapBkey"))
        body = {"authPW": auth_pw(self.email, SECOND_PASSWORD), "wrapKb": wrap_kb.hex()}
        self._post("/password/change/finish", body, token)

    def reset_password(self, mail: int) -> None:
        self._learn_password("third", THIRD_PASSWORD)
        (token,) = self._learn(self._forget(), "passwordForgotToken", at="reset")
        code = self._mailed("x-recovery-code", mail)
        self._wire.post("/password/forgot/verify_code", {"code": "00" * 16}, token)
        self._post("/password/forgot/resend_code", {"email": self.email}, token)
        self._mailed("x-recovery-code", mail + 1)  # not sent any more once its code has been used
        verified = self._post("/password/forgot/verify_code", {"code": code}, token)
        (reset,) = self._learn(verified, "accountResetToken")
        self._post("/account/reset", {"authPW": auth_pw(self.email, THIRD_PASSWORD)}, reset)
        login = self._post("/account/login?keys=true", credentials(self.email, THIRD_PASSWORD))
        self._learn(login, "sessionToken", "keyFetchToken", at="after reset")
        self._fetch_keys(login, THIRD_PASSWORD, "after reset")

    def leave_things_open(self) -> None:
        """A started password change, a reset that was verified, and another one that waits for its code."""
        self._learn(self._start_change(THIRD_PASSWORD), "keyFetchToken", "passwordChangeToken", at="open change")
        self._learn(self._forget(), "passwordForgotToken", at="open reset")

    def lock_and_unlock(self, mail: int) -> None:
        """Ends locked, by a code that was never mailed."""
        body = credentials(self.email, THIRD_PASSWORD)
        self._post("/account/lock", body)
        self._post("/account/unlock/resend_code", {"email": self.email})
        code = self._mailed("x-unlock-code", mail)
        self._post("/account/unlock/verify_code", {"uid": self.uid, "code": code})
        self._post("/account/lock", body)

    def learn_verifier(self, daemon: Daemon) -> None:
        """What the server derives from the third password; the salt stands in the database for all to see."""
        rows = daemon.sql("SELECT uid, auth_salt, verifier_version FROM accounts")
        [(salt, version)] = [(bytes(salt), version) for uid, salt, version in rows if bytes(uid).hex() == self.uid]
        password = self.secrets["authPW of the third password"]
        cost = {"n": onepw.SCRYPT_N, "r": onepw.SCRYPT_R, "p": onepw.SCRYPT_P, "maxmem": 2**27}
        hashed = hashlib.scrypt(password, salt=salt, dklen=32, **cost) if version else xor(password, salt)
        self.secrets["stretched"] = hashed
        self.secrets["verifyHash"] = onepw.verify_hash(hashed, version)
        self.secrets["wrapWrapKb"] = onepw.swap_wrap(self.last_wrap_kb, hashed, version)

    def _start_change(self, password: str) -> Answer:
        return self._post("/password/change/start", {"email": self.email, "oldAuthPW": auth_pw(self.email, password)})

    def _forget(self) -> Answer:
        return self._post("/password/forgot/send_code", {"email": self.email})

    def _mailed(self, header: str, mail: int) -> str:
        code = self._read_code(self.email, header, mail)
        self.secrets[f"{header} of mail {mail}"] = bytes.fromhex(code)
        return code

    def _fetch_keys(self, answer: Answer, password: str, name: str) -> bytes:
        token = Token.of(answer, "keyFetchToken")
        keys = self._wire.get("/account/keys", token)
        ka, wrap_kb = unbundled(token, keys)
        kb: bytes = xor(wrap_kb, derive_key(stretched(self.email, password), "unwrapBkey"))
        self.last_wrap_kb = wrap_kb
        bundle = bytes.fromhex(keys.body["bundle"])
        self.secrets |= {"kA": ka, f"wrapKb {name}": wrap_kb, f"kB {name}": kb, f"bundle {name}": bundle}
        return kb

    def _learn_password(self, name: str, password: str) -> None:
        pw = stretched(self.email, password)
        self.secrets[f"{name} password"] = password.encode()
        self.secrets[f"quickStretchedPW of the {name} password"] = pw
        self.secrets[f"authPW of the {name} password"] = derive_key(pw, "authPW")
        self.secrets[f"unwrapBkey of the {name} password"] = derive_key(pw, "unwrapBkey")

    def _learn(self, answer: Answer, *kinds: str, at: str = "first") -> list[Token]:
        tokens = [Token.of(answer, kind) for kind in kinds]
        for token in tokens:
            parts = (token.data, *token.keys())
            for part, value in zip(("data", "id", "authKey", "bundleKey"), parts, strict=True):
                self.secrets[f"{part} of the {token.kind} ({at})"] = value
        return tokens

    def _post(self, path: str, body: Mapping[str, object], token: Token | None = None) -> Answer:
        answer = self._wire.post(path, body, token)
        assert answer.status == 200, (path, answer.body)
        return answer


class SearchTests(SynchronousTestCase):
    def test_the_search_finds_every_disguise(self) -> None:
        for secret in (bytes(range(100, 132)), bytes(range(250, 256)) + bytes(range(10)), b"a passphrase"):
            inside = b"xy" + secret + b"z!"
            for form in (
                secret,
                inside.hex().encode(),
                inside.hex().upper().encode(),
                repr(inside).encode(),
                *(base64.b64encode(inside[start:]) for start in range(3)),
                *(base64.urlsafe_b64encode(inside[start:]) for start in range(3)),
            ):
                self.assertEqual(found_in(b"before " + form + b" after", {"it": secret}), ["it"], form)
        self.assertEqual(found_in(bytes(1000), {"it": b"a passphrase"}), [])


class SecretsCase(SynchronousTestCase):
    def assertWellKept(self, daemon: Daemon, life: Life) -> None:
        """No secret is in a dump, while the daemon runs and after; what is no secret is, or the search is blind."""
        life.learn_verifier(daemon)
        for at in ("running", "stopped"):
            for form, dump in daemon.dumps().items():
                self.assertIn(life.email.encode(), dump, form)
                self.assertEqual(found_in(dump, life.secrets), [], f"{form}, {at}")
            if at == "running":
                daemon.stop()
        self.assertIn(life.uid, daemon.log)
        self.assertEqual(found_in(daemon.log.encode(), life.secrets), [])
        self.assertEqual(daemon.failures(), [])


class DevelopmentTests(SecretsCase):
    def test_a_whole_life(self) -> None:
        daemon = started(self, environ={"LOG_LEVEL": "trace"})

        def read_code(email: str, header: str, mail: int) -> str:
            return mailed_code(daemon, email, header, mail)

        life = Life(Wire(daemon), read_code)
        life.sign_up()
        life.use(life.sign_in(PASSWORD, "in use"))
        life.change_password()
        life.reset_password(mail=2)
        life.leave_things_open()
        life.lock_and_unlock(mail=5)
        self.assertWellKept(daemon, life)


class ProductionTests(SecretsCase):
    def test_a_whole_life(self) -> None:
        settings = {
            "events": {"stdout": {"kinds": [kind.value for kind in EventKind]}},
            "limits": {"mails": {"max": 100}},
        }
        files = {"life.json": json.dumps(settings)}
        daemon = Daemon("prod", environ={"LOG_LEVEL": "trace", "CONFIG_FILES": "life.json"}, files=files)
        self.addCleanup(daemon.close)
        mail_server = SmtpServer(daemon.smtp_port)
        self.addCleanup(mail_server.stop)
        mail_server.start()
        daemon.start()

        def read_code(email: str, header: str, mail: int) -> str:
            return str(mail_server.nth_to(email, mail)[header])

        life = Life(Wire(daemon), read_code)
        life.sign_up()
        life.use(life.sign_in(PASSWORD, "in use"))
        life.change_password()
        life.reset_password(mail=2)
        mail_server.stop()
        life.leave_things_open()
        self.assertWellKept(daemon, life)
        self.assertEqual(found_in(daemon.console.encode(), life.secrets), [])
        kinds = {json.loads(line)["event"] for line in daemon.console.splitlines()}
        self.assertEqual(kinds, {"created", "verified", "login", "passwordChange", "reset"}, "what receivers are told")
