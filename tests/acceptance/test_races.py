"""Requests that arrive together: what must happen once happens once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import Daemon, shared, started
from tests.acceptance.wire import Answer, Call, Token, Wire, auth_pw, credentials, mailed_code, new_email

TOGETHER = 20


def successes(answers: list[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.status == 200]


class RaceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = self.choose_daemon()
        self.wire = Wire(self.daemon)
        self.email = new_email()

    def choose_daemon(self) -> Daemon:
        return shared()

    def assertOneWins(self, answers: list[Answer], refusal: tuple[int, int]) -> Answer:
        outcomes = sorted(answer.outcome for answer in answers)
        self.assertEqual(outcomes, [(200, 0), *[refusal] * (len(answers) - 1)])
        return successes(answers)[0]

    def assertOneAccount(self, answers: list[Answer]) -> None:
        """All but the last success were replaced: their sessions are dead, its own is that of the account."""
        made = {answer.body["uid"]: answer for answer in successes(answers)}
        self.assertEqual(len(made), len(successes(answers)))
        summaries = self.daemon.entries(op="request.summary", path="/v1/account/create", email=self.email, code=200)
        in_order = [entry["uid"] for entry in summaries]
        self.assertEqual(set(in_order), set(made))
        status = [self.wire.get("/session/status", Token.of(made[uid])).outcome for uid in in_order]
        self.assertEqual(status, [*[(401, 110)] * (len(in_order) - 1), (200, 0)])
        login = self.wire.post("/account/login", credentials(self.email))
        self.assertEqual((login.status, login.body.get("uid")), (200, in_order[-1]))


class CheapHashTests(RaceCase):
    """Against the dev profile."""

    def test_of_verified_creates_one_succeeds(self) -> None:
        call = Call("POST", "/account/create", credentials(self.email, preVerified=True))
        winner = self.assertOneWins(self.wire.at_once([call] * TOGETHER), (400, 101))
        login = self.wire.post("/account/login", credentials(self.email))
        self.assertEqual(login.body["uid"], winner.body["uid"])

    def test_of_unverified_creates_the_last_one_stays(self) -> None:
        answers = self.wire.together([Call("POST", "/account/create", credentials(self.email))] * TOGETHER)
        self.assertLessEqual({answer.outcome for answer in answers}, {(200, 0), (400, 101)})
        self.assertOneAccount(answers)

    def test_a_later_create_replaces_an_unverified_account(self) -> None:
        answers = [self.wire.post("/account/create", credentials(self.email)) for _ in range(3)]
        self.assertEqual([answer.outcome for answer in answers], [(200, 0)] * 3)
        self.assertOneAccount(answers)

    def test_keys_are_handed_out_once(self) -> None:
        created = self.wire.post("/account/create?keys=true", credentials(self.email, preVerified=True))
        call = Call("GET", "/account/keys", None, Token.of(created, "keyFetchToken"))
        self.assertOneWins(self.wire.at_once([call] * TOGETHER), (401, 110))

    def test_a_password_is_changed_once(self) -> None:
        self.wire.post("/account/create", credentials(self.email, preVerified=True))
        body = {"email": self.email, "oldAuthPW": auth_pw(self.email)}
        token = Token.of(self.wire.post("/password/change/start", body), "passwordChangeToken")
        bodies = [{"authPW": f"{number:02x}" * 32, "wrapKb": "00" * 32} for number in range(TOGETHER)]
        calls = [Call("POST", "/password/change/finish", body, token) for body in bodies]
        answers = self.wire.at_once(calls)
        self.assertOneLogsIn(answers, bodies)

    def test_an_account_is_reset_once(self) -> None:
        self.wire.post("/account/create", credentials(self.email, preVerified=True))
        forgot = Token.of(self.wire.post("/password/forgot/send_code", {"email": self.email}), "passwordForgotToken")
        code = mailed_code(self.daemon, self.email, "x-recovery-code")
        verified = self.wire.at_once([Call("POST", "/password/forgot/verify_code", {"code": code}, forgot)] * TOGETHER)
        token = Token.of(self.assertOneWins(verified, (401, 110)), "accountResetToken")
        bodies = [{"authPW": f"{number:02x}" * 32} for number in range(TOGETHER)]
        answers = self.wire.at_once([Call("POST", "/account/reset", body, token) for body in bodies])
        self.assertOneLogsIn(answers, bodies)

    def assertOneLogsIn(self, answers: list[Answer], bodies: list[dict[str, str]]) -> None:
        """Of the new passwords, the one whose request succeeded is that of the account, and no other."""
        self.assertOneWins(answers, (401, 110))
        logins = [
            self.wire.post("/account/login", {"email": self.email, "authPW": body["authPW"]}).status == 200
            for body in bodies
        ]
        self.assertEqual(logins, [answer.status == 200 for answer in answers])


class SlowHashTests(RaceCase):
    """Against scrypt, which leaves the time between a request and its work."""

    def choose_daemon(self) -> Daemon:
        return started(self, files={"slow.toml": "verifierVersion = 1\n"}, environ={"CONFIG_FILES": "slow.toml"})

    def test_of_creates_received_before_the_first_account_one_succeeds(self) -> None:
        answers = self.wire.at_once([Call("POST", "/account/create", credentials(self.email))] * TOGETHER)
        self.assertOneWins(answers, (400, 101))
        self.assertOneAccount(answers)

    def test_a_password_is_changed_once(self) -> None:
        self.wire.post("/account/create", credentials(self.email, preVerified=True))
        body = {"email": self.email, "oldAuthPW": auth_pw(self.email)}
        token = Token.of(self.wire.post("/password/change/start", body), "passwordChangeToken")
        call = Call("POST", "/password/change/finish", {"authPW": "11" * 32, "wrapKb": "00" * 32}, token)
        self.assertOneWins(self.wire.at_once([call] * 6), (401, 110))
