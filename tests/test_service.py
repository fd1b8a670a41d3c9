"""The wiring: what the machine gives to the parts, what listens where, and that a stop leaves nobody waiting."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth import config, workers
from fxa_auth import service as service_module
from fxa_auth.service import AuthService, CannotStart
from tests.http.server import turn
from tests.http.wire import connect, request_bytes

ENVIRON = {"NODE_ENV": "dev", "DB_BACKEND": "memory"}


VERP = {"verp": "bounce@example.com"}


class Refusing(MemoryReactorClock):
    """A reactor that cannot listen, for one reason."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._error = OSError(number, os.strerror(number))

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        raise CannotListenError(interface, port, self._error)

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: int = 0) -> Any:
        raise CannotListenError(None, address, self._error)


class ServiceTests(SynchronousTestCase):
    def service(self, reactor: Any, *layers: config.Layer, **environ: str) -> AuthService:
        self.console, self.complaints = io.StringIO(), list[str]()
        loaded = config.load(layers, {**ENVIRON, **environ})
        return AuthService(loaded, reactor, self.console, self.complaints.append)

    def test_there_are_as_many_hash_threads_as_cores_that_this_process_may_use(self) -> None:
        self.patch(os, "sched_getaffinity", lambda process: {3, 5, 8} if process == 0 else set())
        self.assertEqual(self.service(MemoryReactorClock())._parts.scrypt._threads, 3)

    def test_a_listening_complaint_names_what_is_to_be_changed(self) -> None:
        for number, line in (
            (
                errno.EADDRINUSE,
                "listen.port = 80 (environment PORT): cannot listen on [::1]:80 (Address already in use); "
                "end what uses it or name another port",
            ),
            (
                errno.EACCES,
                "listen.port = 80 (environment PORT): cannot listen on [::1]:80 (Permission denied); "
                "name a port above 1023, or start as root with --uid",
            ),
            (
                errno.EADDRNOTAVAIL,
                'listen.host = "::1" (environment IP_ADDRESS): cannot listen on [::1]:80 '
                "(Cannot assign requested address); name an address of this machine",
            ),
        ):
            service = self.service(Refusing(number), PORT="80", IP_ADDRESS="::1")
            error = self.assertRaises(CannotStart, service.privilegedStartService)
            self.assertEqual(str(error), line)

    def test_what_listens_where_is_told_by_name(self) -> None:
        environ = {"IP_ADDRESS": "::1", "PORT": "1", "SMTP_PORT": "2", "MAILER_PORT": "3"}
        service = self.service(MemoryReactorClock(), **environ)
        service.privilegedStartService()
        service._ports = dict(reversed(service._ports.items()))
        service._announce()
        told = self.console.getvalue()
        self.assertIn("API           http://[::1]:1 ", told)
        self.assertRegex(told, r"http://[0-9.]+:3/mail/<local part>  \(SMTP sink on [0-9.]+:2\)")

    def test_reports_are_listened_for_where_the_settings_say_and_by_socket_for_owner_and_group_only(self) -> None:
        reactor = MemoryReactorClock()
        listen = {"host": "127.0.0.2", "port": 2525, "socket": "reports.sock"}
        service = self.service(reactor, config.Layer("a.toml", {"bounces": {**VERP, "listen": listen}}))
        service.privilegedStartService()
        reports = service._parts.reports
        self.assertIn((2525, reports, 50, "127.0.0.2"), reactor.tcpServers)
        self.assertEqual(reactor.unixServers, [("reports.sock", reports, 50, 0o660, 0)])

    def test_without_a_place_no_reports_are_listened_for(self) -> None:
        reactor = MemoryReactorClock()
        self.service(reactor, config.Layer("a.toml", {"bounces": VERP})).privilegedStartService()
        self.assertEqual((len(reactor.tcpServers), reactor.unixServers), (3, []))

    def test_the_complaint_about_a_socket_names_it(self) -> None:
        layer = config.Layer("a.toml", {"bounces": {**VERP, "listen": {"socket": "/nowhere/reports.sock"}}})
        service = self.service(Refusing(errno.ENOENT), layer)
        error = self.assertRaises(CannotStart, service._listen_for_reports, service._parts.reports)
        self.assertEqual(
            str(error),
            'bounces.listen.socket = "/nowhere/reports.sock" (a.toml): cannot listen (No such file or directory);'
            " name a file, in a folder that this user may write to, that nothing else has",
        )


class StopTests(TestCase):
    """The whole server in this process; it ends while hashes are under way."""

    timeout = 120

    async def started(self) -> AuthService:
        folder = self.mktemp()
        files = {"secretKeyFile": f"{folder}/secret.json", "publicKeyFile": f"{folder}/public.json"}
        environ = {**ENVIRON, "PORT": "0", "SMTP_PORT": "0", "MAILER_PORT": "0"}
        loaded = config.load([config.Layer("", {**files, "verifierVersion": 1})], environ)
        service = AuthService(loaded, reactor, io.StringIO(), self.fail)
        service.privilegedStartService()
        service.startService()
        await turn()
        assert service._starting is not None
        await service._starting
        return service

    async def test_who_waits_for_a_hash_in_vain_is_told_so(self) -> None:
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        self.patch(workers, "crypto_pwhash_scryptsalsa208sha256_ll", lambda *_: go_on.wait(60) and bytes(32))
        self.patch(os, "sched_getaffinity", lambda process: {0})
        self.patch(service_module, "DRAIN_TIMEOUT_S", 0.05)
        service = await self.started()
        pool = service._parts.scrypt
        stop_pool = pool.stop
        self.patch(pool, "stop", lambda: (go_on.set(), stop_pool()))
        port = service._ports["listen"].getHost().port
        wires = [await connect(port) for _ in range(4)]
        for number, wire in enumerate(wires):
            body = json.dumps({"email": f"{number}@example.com", "authPW": "ab" * 32}).encode()
            wire.send(request_bytes("POST", "/v1/account/create", {"Content-Type": "application/json"}, body))
            while pool.pending <= number:
                await turn()
        stopping = maybeDeferred(service.stopService)
        statuses = [(await wire.reply()).status for wire in wires]
        await stopping
        self.assertEqual(statuses, [200, 503, 503, 503])
