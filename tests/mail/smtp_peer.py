"""An SMTP server that is not ours, for a child process: aiosmtpd, which tells each mail it takes as a line of JSON.

Its first line of output is its port. The recipient's local part says how it behaves: ``busy`` and ``nobody`` are
refused at RCPT, ``spam`` after DATA, ``mute`` is never answered, ``drop`` loses its connection.

Arguments: a JSON object with any of port (else it is any free one), certificate (a PEM file with its key), user,
password.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Handler:
    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        local_part = address.partition("@")[0]
        if local_part == "busy":
            return "451 4.3.0 Come back later"
        if local_part == "nobody":
            return "550 5.1.1 No such\x1b[31m user"
        if local_part == "mute":
            await asyncio.sleep(3600)
        if local_part == "drop":
            server.transport.abort()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.original_content, bytes)
        mail = {
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "content": base64.b64encode(envelope.original_content).decode(),
            "authenticated": session.authenticated,
            "tls": server.transport.get_extra_info("ssl_object") is not None,
        }
        if envelope.rcpt_tos[0].startswith("spam"):
            return "554 5.7.1 I do not like it"
        print(json.dumps(mail), flush=True)
        return "250 OK"


async def serve(arguments: dict[str, Any]) -> None:
    def authenticator(server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
        assert isinstance(login, LoginPassword)
        right = (login.login.decode(), login.password.decode()) == (arguments["user"], arguments["password"])
        return AuthResult(success=right, handled=False)

    def protocol() -> SMTP:
        return SMTP(
            Handler(),
            hostname="peer.example.com",
            auth_required="user" in arguments,
            auth_require_tls=False,
            authenticator=authenticator if "user" in arguments else None,
        )

    context = None
    if "certificate" in arguments:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments["certificate"])
    server = await asyncio.get_running_loop().create_server(
        protocol, "127.0.0.1", arguments.get("port", 0), ssl=context
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
