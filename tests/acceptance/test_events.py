"""Events reach their receivers: each once at least, in order, without a gap, whatever dies in between."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections import Counter
from pathlib import Path
from shutil import copytree
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import fxa_auth
from fxa_auth.records import EventKind
from tests import aws
from tests.acceptance.daemon import Daemon, eventually
from tests.acceptance.receiver import Receiver
from tests.acceptance.wire import Wire, credentials, mailed_code, new_email
from tests.postgres import create_database, drop_database

ARN = "arn:aws:sns:eu-west-1:123456789012:accounts"
ALL_KINDS = [kind.value for kind in EventKind]
CLIENTS = 4
LOGINS = 3
EVENTS = 1000


class Busy:
    """Clients that sign up and in, over a connection each, until so many events are acknowledged or the daemon is gone.

    What they send as a password is none, which only they could tell.
    """

    def __init__(self, daemon: Daemon, enough: int) -> None:
        self._daemon = daemon
        self._enough = enough
        self.acknowledged: Counter[tuple[str, str]] = Counter()
        """How often each kind of event has been caused for each uid."""
        self.unexpected: list[object] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        connection = self._daemon.connect()
        try:
            while self.acknowledged.total() < self._enough:
                self._sign_up_and_in(connection)
        except (OSError, http.client.HTTPException):
            pass
        except Exception as error:
            self.unexpected.append(error)
        finally:
            connection.close()

    def _sign_up_and_in(self, connection: http.client.HTTPConnection) -> None:
        account = {"email": new_email(), "authPW": os.urandom(32).hex()}
        uid = _uid(connection, "/v1/account/create", {**account, "preVerified": True})
        self.acknowledged.update([("created", uid), ("verified", uid)])
        for _ in range(LOGINS):
            self.acknowledged[("login", _uid(connection, "/v1/account/login", account))] += 1


def _uid(connection: http.client.HTTPConnection, path: str, body: object) -> str:
    """What a call answers with that must succeed."""
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert response.status == 200, answer
    return str(answer["uid"])


class EventCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.receiver = Receiver()
        self.addCleanup(self.receiver.stop)

    def daemon(self, kinds: list[str] = ALL_KINDS, **options: Any) -> Daemon:
        """One that publishes to the receiver."""
        files = {
            "events.json": json.dumps(
                {
                    "snsTopicArn": ARN,
                    "aws": {"endpointUrl": self.receiver.url},
                    "events": {"sns": {"kinds": kinds}},
                }
            )
        }
        environ = {**aws.environment(), "CONFIG_FILES": "events.json", **options.pop("environ", {})}
        daemon = Daemon(files=files, environ=environ, **options)
        self.addCleanup(daemon.close)
        return daemon

    def last_number(self, daemon: Daemon) -> int:
        """The number of the latest event, once all have one."""
        eventually(lambda: not daemon.sql("SELECT 1 FROM events WHERE number IS NULL"), "numbers")
        [(last,)] = daemon.sql("SELECT max(number) FROM events")
        return int(last)

    def arrived(self, last: int) -> list[int]:
        """The numbers in the order of arrival, once the last of them has come."""
        eventually(lambda: last in {each.number for each in self.receiver.received}, f"event {last}")
        return [each.number for each in self.receiver.received]

    def assertComplete(self, numbers: list[int], last: int) -> None:
        """From 1 to the last in order without a gap; one that came before may come again."""
        first_comings = list(dict.fromkeys(numbers))
        self.assertEqual(first_comings, list(range(1, last + 1)))

    def acknowledged(self, busy: Busy) -> Counter[tuple[str, str]]:
        self.assertEqual(busy.unexpected, [])
        return busy.acknowledged

    def told(self) -> Counter[tuple[str, str]]:
        """How often the receiver heard of each kind of event of each uid, repetitions apart."""
        messages = {each.number: each.message for each in self.receiver.received}
        return Counter((message["event"], message["uid"]) for message in messages.values())


class KillTests(EventCase):
    def test_a_thousand_events_survive_a_dead_receiver_and_two_kills(self) -> None:
        daemon = self.daemon()
        acknowledged: Counter[tuple[str, str]] = Counter()
        for enough in (EVENTS // 3, EVENTS // 3):
            daemon.start()
            busy = Busy(daemon, 10 * EVENTS)
            eventually(lambda: busy.unexpected or busy.acknowledged.total() >= enough, "events")  # noqa: B023
            daemon.kill()
            busy.join()
            acknowledged += self.acknowledged(busy)
        daemon.start()
        busy = Busy(daemon, EVENTS - acknowledged.total())
        busy.join()
        acknowledged += self.acknowledged(busy)
        self.assertGreaterEqual(acknowledged.total(), EVENTS)
        self.assertTrue(daemon.entries(op="event.not_delivered"))
        last = self.last_number(daemon)
        self.receiver.start()
        self.assertComplete(self.arrived(last), last)
        self.assertEqual(acknowledged - self.told(), Counter(), "what was acknowledged has been told")
        self.assertEqual(daemon.failures(), [])


class ReceiverTests(EventCase):
    """Receivers that are good for nothing, for a while."""

    def test_no_request_waits_for_a_receiver_and_a_new_one_gets_it_all(self) -> None:
        daemon = self.daemon()
        daemon.start()
        wire = Wire(daemon)
        for mode in ("hang", "refuse", "die"):
            known = len(self.receiver.received)
            self.receiver.start(mode)
            account = credentials(new_email())
            self.assertEqual(wire.post("/account/create", account).outcome, (200, 0), mode)
            eventually(lambda: len(self.receiver.received) > known, f"an event for one that would {mode}")  # noqa: B023
            # With the delivery under way, or failed:
            self.assertEqual(wire.post("/account/login", account).outcome, (200, 0), mode)
            self.receiver.stop()
        last = self.last_number(daemon)
        self.assertEqual(last, 6)
        self.receiver.received.clear()
        self.receiver.start()
        self.assertComplete(self.arrived(last), last)
        self.assertEqual(daemon.failures(), [])

    def test_a_daemon_stops_soon_although_a_receiver_hangs(self) -> None:
        daemon = self.daemon()
        daemon.start()
        self.receiver.start("hang")
        Wire(daemon).post("/account/create", credentials(new_email()))
        eventually(lambda: self.receiver.received, "an event")
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(daemon.entries(op="event.not_delivered"), [], "it was not waited for")


class MessageTests(EventCase):
    def test_only_two_kinds_are_published_in_the_original_form_unless_asked_otherwise(self) -> None:
        daemon = self.daemon(kinds=["verified", "delete"])
        daemon.start()
        self.receiver.start()
        wire, account = Wire(daemon), credentials(new_email())
        uid = wire.post("/account/create", account).body["uid"]
        code = mailed_code(daemon, account["email"])
        wire.post("/recovery_email/verify_code", {"uid": uid, "code": code})
        wire.post("/account/login", account)
        wire.post("/account/destroy", account)
        eventually(lambda: len(self.receiver.received) == 2, "two events")
        verified, delete = self.receiver.received
        told = {"event": "verified", "email": account["email"], "uid": uid, "locale": None}
        self.assertEqual(verified.message, told)
        self.assertEqual(delete.message, {"event": "delete", "uid": f"{uid}@127.0.0.1:{daemon.port}"})
        self.assertEqual([verified.number, delete.number], [2, 4])
        for each in (verified, delete):
            self.assertEqual(each.form["TopicArn"], ARN)
            self.assertIn("Credential=AKIDFORTESTS/", each.headers["authorization"])

    def test_basket_is_told_of_verified_addresses_with_its_key(self) -> None:
        environ = {"BASKET_API_URL": f"{self.receiver.url}/news", "BASKET_API_KEY": "key-of-basket"}
        daemon = Daemon(environ=environ)
        self.addCleanup(daemon.close)
        daemon.start()
        self.receiver.start()
        wire = Wire(daemon)
        for email in ("someone@restmail.net", new_email()):
            wire.post("/account/create", credentials(email, preVerified=True))
        eventually(lambda: self.receiver.received, "a form")
        [request] = self.receiver.received
        self.assertEqual(request.path, "/news/fxa-register/")
        self.assertEqual(request.headers["x-api-key"], "key-of-basket")
        self.assertEqual((request.form["email"], request.form["accept_lang"]), (email, "en-US"))
        self.assertNotIn("key-of-basket", daemon.log)

    def test_stdout_has_a_line_for_each_event(self) -> None:
        files = {"events.toml": '[events.stdout]\nkinds = ["created", "login", "delete"]\n'}
        daemon = Daemon("prod", files=files, environ={"CONFIG_FILES": "events.toml"})
        self.addCleanup(daemon.close)
        daemon.start()
        wire, account = Wire(daemon), credentials(new_email())
        uid = wire.post("/account/create", account).body["uid"]
        wire.post("/account/login", account)
        wire.post("/account/destroy", account)
        eventually(lambda: len(daemon.console.splitlines()) == 3, "three lines")
        lines = [json.loads(line) for line in daemon.console.splitlines()]
        self.assertEqual([line["event"] for line in lines], ["created", "login", "delete"])
        self.assertEqual([line["number"] for line in lines], [1, 2, 3])
        self.assertEqual([line["data"]["uid"] for line in lines], [uid, uid, f"{uid}@127.0.0.1:{daemon.port}"])


class SeveralDaemonsTests(EventCase):
    """Two daemons that share a database."""

    def setUp(self) -> None:
        super().setUp()
        url = create_database()
        self.addCleanup(drop_database, url)
        first, second = self.daemons = [self.daemon(database_url=url) for _ in range(2)]
        first.start()
        copytree(first.folder / "var", second.folder / "var")

    def test_each_event_comes_once_and_in_order_from_whichever_daemon(self) -> None:
        self.daemons[1].start()
        self.receiver.start()
        crowds = [Busy(daemon, 100) for daemon in self.daemons]
        for busy in crowds:
            busy.join()
        last = self.last_number(self.daemons[0])
        self.assertEqual(self.arrived(last), list(range(1, last + 1)))
        acknowledged = sum((self.acknowledged(busy) for busy in crowds), Counter())
        self.assertEqual(self.told(), acknowledged)

    def test_when_the_daemon_that_publishes_is_killed_the_other_goes_on(self) -> None:
        publishing, other = self.daemons
        self.receiver.start("hang")
        Busy(publishing, 20).join()
        eventually(lambda: self.receiver.received, "a delivery")
        other.start()
        publishing.kill()
        self.receiver.stop()
        self.receiver.received.clear()
        self.receiver.start()
        last = self.last_number(other)
        self.assertComplete(self.arrived(last), last)


class ComplaintTests(SynchronousTestCase):
    """What an operator is told at the start."""

    def complaint(self, **options: Any) -> str:
        """The one line that a daemon with these options says before it ends."""
        daemon = Daemon("prod", **options)
        self.addCleanup(daemon.close)
        daemon.spawn()
        self.assertNotEqual(daemon.wait(), 0)
        [line] = daemon.log.splitlines()
        return line

    def test_a_topic_without_the_extra_is_refused_with_the_mend(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "sitecustomize.py").write_text("import sys\nsys.modules['botocore'] = None\n")
        hidden = os.pathsep.join([str(folder), str(Path(fxa_auth.__file__).parents[1])])
        self.assertEqual(
            self.complaint(environ={"SNS_TOPIC_ARN": ARN, "PYTHONPATH": hidden}),
            f'fxa-auth: snsTopicArn = "{ARN}" (environment SNS_TOPIC_ARN): needs what is not installed:'
            " run pip install 'fxa-auth[aws]'",
        )

    def test_lines_on_a_stdout_that_nobody_reads_are_refused(self) -> None:
        complaint = self.complaint(
            files={"events.toml": '[events.stdout]\nkinds = ["login"]\n'},
            environ={"CONFIG_FILES": "events.toml"},
            arguments=("--pidfile=daemon.pid", "fxa-auth"),
        )
        self.assertEqual(
            complaint,
            'fxa-auth: events.stdout.kinds = ["login"] (events.toml): nobody reads stdout of a daemon in the'
            " background: start twistd with --nodaemon, or leave this out",
        )
