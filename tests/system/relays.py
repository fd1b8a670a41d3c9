"""Relays that carry the daemon's mails and bring back reports: Debian's Postfix and Exim, on loopback.

Each has settings, queue and log in a temporary folder. How they hand over reports, they are told by the settings that
docs/bounces.md recommends, taken from there. Mail for ``LOCAL_DOMAIN`` ends at the relay, which knows no users;
mail for ``REMOTE_DOMAIN`` goes to a further server.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.daemon import TIMEOUT_S, eventually, free_ports
from tests.system import program

LOCAL_DOMAIN = "users.example"
REMOTE_DOMAIN = "remote.example"
REPORT_DOMAIN = "bounces.example.com"
EXIM_USER = "Debian-exim"

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Listener:
    """Where the daemon listens for reports."""

    port: int
    socket: Path


def documented(section: str, listener: Listener) -> list[str]:
    """The settings in a section of docs/bounces.md, block by block, with the place of this listener."""
    text = (_ROOT / "docs" / "bounces.md").read_text("utf-8")
    _, _, rest = text.partition(f"\n### {section}\n")
    blocks = re.findall(r"\n```\n(.*?)```", re.split(r"\n##+ ", rest)[0], re.DOTALL)
    placed = (block.replace("2525", str(listener.port)) for block in blocks)
    return [block.replace("/run/fxa-auth/reports.sock", str(listener.socket)) for block in placed]


class Relay:
    """A mail server on ``port`` between ``start`` and ``close``."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise AssertionError("a relay can only be started by root: run make test-system as root")
        # Not TMPDIR: the relay's own users must get there.
        self.folder = Path(tempfile.mkdtemp(prefix="fxa-auth-relay-", dir="/tmp"))
        self.folder.chmod(0o755)
        [self.port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._prepare()
        # A session of its own, so that what it starts ends with it.
        self._process = subprocess.Popen(
            self._command(),
            env={**os.environ, **self._environ()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        eventually(lambda: self._process.poll() is not None or self._listens(), "a relay")  # type: ignore[union-attr]
        if self._process.poll() is not None:
            raise AssertionError(f"the relay does not start: {self.log}")

    def close(self) -> None:
        """End it with all that it has started, and remove its files."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(TIMEOUT_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run_queue(self) -> None:
        """Have it try all mails again now."""
        raise NotImplementedError

    def has_put_off(self, recipient: str) -> bool:
        """Whether it has failed to deliver a mail to ``recipient``, and will try again."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "backslashreplace") if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    def _prepare(self) -> None:
        """Write its files."""
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _environ(self) -> Mapping[str, str]:
        return {}

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S).close()
        except ConnectionRefusedError:
            return False
        return True

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, env={**os.environ, **self._environ()}, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        if done.returncode != 0:
            raise AssertionError(f"{command[0]} failed: {done.stderr} {self.log}")
        return done.stdout


_POSTFIX_MAIN = f"""
compatibility_level = 3.6
myhostname = relay.example.com
queue_directory = {{folder}}/queue
data_directory = {{folder}}/data
maillog_file = {{folder}}/log.txt
maillog_file_prefixes = {{folder}}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination = {LOCAL_DOMAIN}
local_recipient_maps =
alias_maps =
address_verify_poll_delay = 1s
"""

_POSTFIX_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Relay):
    """Works as its own user ``postfix``, of the group ``gid``."""

    def __init__(self, listener: Listener, remote_port: int, by_socket: bool) -> None:
        super().__init__()
        self._postfix = program("postfix")
        self.gid = pwd.getpwnam("postfix").pw_gid
        self._listener = listener
        self._remote_port = remote_port
        self._by_socket = by_socket

    def _prepare(self) -> None:
        etc = self.folder / "etc"
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        main, by_port, by_socket = documented("Postfix", self._listener)
        main = _POSTFIX_MAIN.lstrip().format(folder=self.folder) + main.replace("/etc/postfix", str(etc))
        (etc / "main.cf").write_text(main)
        transport = by_socket if self._by_socket else by_port
        (etc / "transport").write_text(f"{transport}{REMOTE_DOMAIN} smtp:[127.0.0.1]:{self._remote_port}\n")
        (etc / "master.cf").write_text(_POSTFIX_MASTER.lstrip().format(port=self.port))
        self._run(self._postfix, "-c", str(etc), "check")

    def run_queue(self) -> None:
        self._run(self._postfix, "-c", str(self.folder / "etc"), "flush")

    def has_put_off(self, recipient: str) -> bool:
        return any(f"to=<{recipient}>" in line and "status=deferred" in line for line in self.log.splitlines())

    def _command(self) -> list[str]:
        etc = str(self.folder / "etc")
        daemons = self._run(program("postconf"), "-c", etc, "-h", "daemon_directory").strip()
        return [f"{daemons}/master", "-c", etc, "-d"]


_EXIM = f"""
exim_path = {{exim}}
keep_environment = LD_LIBRARY_PATH
exim_user = {EXIM_USER}
exim_group = {EXIM_USER}
deliver_drop_privilege
primary_hostname = relay.example.com
spool_directory = {{folder}}/spool
log_file_path = {{folder}}/log/%slog
pid_file_path = {{folder}}/exim.pid
daemon_smtp_ports = {{port}}
local_interfaces = 127.0.0.1
tls_advertise_hosts =
acl_smtp_rcpt = acl_check_rcpt

begin acl
acl_check_rcpt:
{{acl}}
  accept hosts = 127.0.0.1

begin routers
{{router}}
users:
  driver = redirect
  domains = {LOCAL_DOMAIN}
  allow_fail
  data = :fail: no such user

remote:
  driver = manualroute
  domains = {REMOTE_DOMAIN}
  transport = remote
  route_list = * 127.0.0.1 byname
  self = send

begin transports
{{transport}}
remote:
  driver = smtp
  port = {{remote_port}}
  allow_localhost

begin retry
* * F,1h,1m
"""


class Exim(Relay):
    """Unpacked from its Debian packages, as it cannot be installed beside Postfix, and run as a user of its own.

    The user exists in a mount namespace only.
    """

    _UID = 64999

    def __init__(self, listener: Listener, remote_port: int) -> None:
        super().__init__()
        self.gid = self._UID
        self._listener = listener
        self._remote_port = remote_port
        self._root = self.folder / "root"
        self._exim = self._root / "usr" / "sbin" / "exim4"

    def _prepare(self) -> None:
        self._unpack("exim4-daemon-light", "exim4-base", "libidn12")
        self._exim.chmod(0o755)  # not set-uid: it finds its library by LD_LIBRARY_PATH
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, self._UID, self._UID)
        for name in ("passwd", "group"):
            entry = f"{EXIM_USER}:x:{self._UID}:{self._UID}::/nonexistent:/usr/sbin/nologin"
            entry = entry if name == "passwd" else f"{EXIM_USER}:x:{self._UID}:"
            (self.folder / name).write_text(f"{Path('/etc', name).read_text()}{entry}\n")
        acl, router, transport = documented("Exim", self._listener)
        values = {"folder": self.folder, "exim": self._exim, "port": self.port, "remote_port": self._remote_port}
        text = _EXIM.lstrip().format(**values, acl=acl, router=router, transport=transport)
        (self.folder / "exim.conf").write_text(text)
        self._run(*self._in_namespace("-bV"))

    def run_queue(self) -> None:
        self._run(*self._in_namespace("-qff"))

    def has_put_off(self, recipient: str) -> bool:
        return f" == {recipient} " in self.log

    @property
    def _log(self) -> Path:
        return self.folder / "log" / "mainlog"

    def _unpack(self, *packages: str) -> None:
        debs = self.folder / "debs"
        debs.mkdir()
        apt_get = [program("apt-get"), "--quiet", "--quiet", "download", *packages]
        subprocess.run(apt_get, cwd=debs, check=True, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S)
        for deb in debs.iterdir():
            self._run(program("dpkg"), "--extract", str(deb), str(self._root))

    def _in_namespace(self, *arguments: str) -> list[str]:
        mounts = " && ".join(f"mount --bind {self.folder}/{name} /etc/{name}" for name in ("passwd", "group"))
        script = f'{mounts} && exec "$0" "$@"'
        exim = [str(self._exim), "-C", str(self.folder / "exim.conf"), *arguments]
        return [program("unshare"), "--mount", "sh", "-c", script, *exim]

    def _command(self) -> list[str]:
        return self._in_namespace("-bdf", "-q1h")

    def _environ(self) -> Mapping[str, str]:
        folders = {str(path.parent) for path in self._root.rglob("libidn.so.12")}
        return {"LD_LIBRARY_PATH": ":".join(folders)}
