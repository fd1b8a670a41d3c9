"""A Postfix of its own: Debian's programs with settings, queue and mailboxes in a temporary folder, on loopback.

It is started as root, since Postfix has to be, and works as its own user ``postfix``; mailboxes belong to ``nobody``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from tests.acceptance.daemon import TIMEOUT_S, eventually, free_ports
from tests.certificates import Issued
from tests.system import program

DOMAIN = "example.com"
USER, PASSWORD = f"accounts@{DOMAIN}", "hunter2-hunter2"
MAILBOXES = ("bob", "carol", "δοκιμή")
"""The local parts that there are; others are refused."""

_MAIN = """
compatibility_level = 3.6
myhostname = mx.example.com
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log.txt
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
mydestination =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = texthash:{folder}/mailboxes
virtual_mailbox_base = {folder}/mail
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_tls_chain_files = {folder}/server.pem
smtpd_tls_auth_only = yes
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = {domain}
cyrus_sasl_config_path = {folder}/etc/sasl
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
default_transport = discard
"""

_MASTER = """
127.0.0.1:{plain} inet n - n - - smtpd
    -o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=no
127.0.0.1:{starttls} inet n - n - - smtpd
    -o smtpd_tls_security_level=may -o smtpd_sasl_auth_enable=yes
127.0.0.1:{implicit} inet n - n - - smtpd
    -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

_SASL = """
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {folder}/sasldb
mech_list: PLAIN LOGIN CRAM-MD5
"""


class Postfix:
    """Runs between ``start`` and ``close``.

    It listens on three ports: ``plain`` knows no TLS, ``starttls`` takes logins under TLS only, ``implicit`` begins
    with it. Mail for other domains is taken from who has logged in, and thrown away.
    """

    def __init__(self, certificate: Issued) -> None:
        if os.geteuid() != 0:
            raise AssertionError("Postfix can only be started by root: run make test-system as root")
        self._postfix, self._postconf = program("postfix"), program("postconf")
        # Not TMPDIR: Postfix's own users must get there.
        self.folder = Path(tempfile.mkdtemp(prefix="fxa-auth-postfix-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.plain, self.starttls, self.implicit = free_ports(3)
        self._master: subprocess.Popen[bytes] | None = None
        owner = pwd.getpwnam("nobody")
        values = {"folder": self.folder, "domain": DOMAIN, "uid": owner.pw_uid, "gid": owner.pw_gid}
        ports = {"plain": self.plain, "starttls": self.starttls, "implicit": self.implicit}
        mailboxes = "".join(f"{local_part}@{DOMAIN} {local_part}/\n" for local_part in MAILBOXES)
        for name in ("etc", "etc/sasl", "queue", "data", "mail"):
            (self.folder / name).mkdir()
        for name, text in (
            ("etc/main.cf", _MAIN.format(**values)),
            ("etc/master.cf", _MASTER.format(**ports)),
            ("etc/sasl/smtpd.conf", _SASL.format(**values)),
            ("mailboxes", mailboxes),
            ("server.pem", (certificate.key_pem + certificate.pem).decode()),
        ):
            (self.folder / name).write_text(text.lstrip(), "utf-8")
        shutil.chown(self.folder / "data", "postfix")
        shutil.chown(self.folder / "mail", owner.pw_uid, owner.pw_gid)
        self._run(program("saslpasswd2"), "-p", "-c", "-f", str(self.folder / "sasldb"), USER, told=PASSWORD)
        shutil.chown(self.folder / "sasldb", "postfix")
        self._run(self._postfix, "-c", str(self.folder / "etc"), "check")

    def start(self) -> None:
        daemons = self._run(self._postconf, "-c", str(self.folder / "etc"), "-h", "daemon_directory").strip()
        # A group of its own: what master starts ends with it.
        self._master = subprocess.Popen(
            [f"{daemons}/master", "-c", str(self.folder / "etc"), "-d"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        eventually(lambda: self._master.poll() is not None or self._listens(), "Postfix")
        if self._master.poll() is not None:
            raise AssertionError(f"Postfix does not start: {self.log}")

    def stop(self) -> None:
        """End it, if it runs, with all that it has started."""
        if self._master is not None:
            self._master.terminate()
            self._master.wait(TIMEOUT_S)
            self._master = None

    def close(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def mails(self, local_part: str) -> list[EmailMessage]:
        """What is in a mailbox, in no order."""
        paths = (self.folder / "mail" / local_part / "new").glob("*")
        return [message_from_bytes(path.read_bytes(), EmailMessage, policy=policy.default) for path in paths]

    @property
    def log(self) -> str:
        path = self.folder / "log.txt"
        return path.read_text("utf-8", "backslashreplace") if path.exists() else ""

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.implicit), TIMEOUT_S).close()
        except ConnectionRefusedError:
            return False
        return True

    def _run(self, *command: str, told: str = "") -> str:
        done = subprocess.run(command, input=told, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode != 0:
            raise AssertionError(f"{command[0]} failed: {done.stderr} {self.log}")
        return done.stdout
