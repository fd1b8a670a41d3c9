"""An SMTP server that is not ours, for a child process: aiosmtpd, which tells each mail it takes as a line of JSON.

Its first line of output is its port. The recipient's local part says how it behaves: ``busy`` and ``nobody`` are
refused at RCPT, ``spam`` after DATA, ``mute`` is never answered (which is told, too), ``drop`` loses its connection.

Arguments: a JSON object with any of

- port (else it is any free one),
- certificate (a PEM file with its key): TLS from the first byte, or by STARTTLS where ``starttls`` is true,
- user, password, mechanisms (else all three): AUTH is demanded; with ``auth_needs_tls`` only offered under TLS,
- smtputf8: whether SMTPUTF8 is offered,
- answers: what is answered to each of these commands instead of obeying them, such as {"MAIL": "451 later"}.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import ssl
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session

MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")


class Handler:
    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any
    ) -> AuthResult:
        assert isinstance(login, LoginPassword)
        right = (login.login.decode(), login.password.decode()) == (self._user, self._password)
        return self._result(session, mechanism, right)

    async def auth_CRAM__MD5(self, server: SMTP, args: list[str]) -> AuthResult:
        challenge = b"<1896.697170952@peer.example.com>"
        answer = await server.challenge_auth(challenge)
        digest = hmac.digest(self._password.encode(), challenge, "md5").hex()
        right = answer is not MISSING and answer == f"{self._user} {digest}".encode()
        return self._result(server.session, "CRAM-MD5", right)

    def _result(self, session: Session, mechanism: str, right: bool) -> AuthResult:
        session.mechanism = mechanism  # type: ignore[attr-defined]
        return AuthResult(success=right, handled=False)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        local_part = address.partition("@")[0]
        if local_part == "busy":
            return "451 4.3.0 Come back later"
        if local_part == "nobody":
            return "550 5.1.1 No such\x1b[31m user"
        if local_part == "mute":
            print(json.dumps({"silent_for": address}), flush=True)
            await asyncio.sleep(3600)
        if local_part == "drop":
            server.transport.abort()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.original_content, bytes)
        mail = {
            "connection": session.peer[1],
            "ehlo": session.host_name,
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "content": base64.b64encode(envelope.original_content).decode(),
            "options": envelope.mail_options,
            "mechanism": session.authenticated and session.mechanism,  # type: ignore[attr-defined]
            "tls": server.transport.get_extra_info("ssl_object") is not None,
        }
        if envelope.rcpt_tos[0].startswith("spam"):
            return "554 5.7.1 I do not like it"
        print(json.dumps(mail), flush=True)
        return "250 OK"


def answering(answers: dict[str, str]) -> type[SMTP]:
    """A server that answers some commands always alike."""

    def command(answer: str) -> Callable[[SMTP, str], Coroutine[Any, Any, None]]:
        async def respond(self: SMTP, argument: str) -> None:
            await self.push(answer)
            if answer.startswith("421"):
                self.transport.close()

        return respond

    return type("Answering", (SMTP,), {f"smtp_{verb}": command(answer) for verb, answer in answers.items()})


async def serve(arguments: dict[str, Any]) -> None:
    certificate, starttls = arguments.get("certificate"), arguments.get("starttls", False)
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server_class = answering(arguments.get("answers", {}))
    excluded = set(MECHANISMS) - set(arguments.get("mechanisms", MECHANISMS))

    def protocol() -> SMTP:
        handler = Handler(arguments.get("user", ""), arguments.get("password", ""))
        return server_class(
            handler,
            hostname="peer.example.com",
            enable_SMTPUTF8=arguments.get("smtputf8", False),
            tls_context=context if starttls else None,
            auth_required="user" in arguments,
            auth_require_tls=arguments.get("auth_needs_tls", "user" not in arguments),
            auth_exclude_mechanism=excluded,
            authenticator=handler.authenticate if "user" in arguments else None,
        )

    server = await asyncio.get_running_loop().create_server(
        protocol, "127.0.0.1", arguments.get("port", 0), ssl=None if starttls else context
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    # aiosmtpd finds fault with servers that are meant to be bad.
    warnings.simplefilter("ignore")
    logging.disable()
    asyncio.run(serve(json.loads(sys.argv[1])))
