"""How a mail address is written in header fields and in the envelope of a message.

The protocol takes addresses that mail does not know as they are (docs/api.md, "Values"); what they become here is all
that the mail server gets to see of them.
"""

from __future__ import annotations

import idna


def mailbox(address: str) -> str:
    """``address`` as RFC 5321 and RFC 6531 want it.

    A local part that is no dot-atom stands in quotes: the protocol allows ``.a..b@example.com``, mail only
    ``".a..b"@example.com``. With a local part in ASCII, a domain that is not becomes A-labels (RFC 5891), which every
    server understands. Where that cannot be, characters outside ASCII stand for themselves and need SMTPUTF8.
    """
    local, _, domain = address.rpartition("@")
    if not all(local.split(".")):
        local = f'"{local}"'
    return f"{local}@{_ascii(domain) if local.isascii() else domain}"


def _ascii(domain: str) -> str:
    if domain.isascii():
        return domain
    try:
        # Mapped as browsers do it (UTS 46): upper case to lower, full-width forms to usual ones, 。 to a dot.
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain
