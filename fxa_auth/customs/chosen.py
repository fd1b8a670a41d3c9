"""The abuse policy that the setting ``customsUrl`` names, for the daemon and for the commands beside it."""

from __future__ import annotations

from collections.abc import Callable

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime

from fxa_auth.config import Limits
from fxa_auth.customs import Customs, NoCustoms
from fxa_auth.customs.builtin import BuiltinCustoms, Records
from fxa_auth.customs.policy import LOCKOUT, LOGINS, MAILS, Rule, Rules
from fxa_auth.customs.remote import RemoteCustoms


def chosen_customs(
    url: str,
    limits: Limits,
    records: Records,
    random: Callable[[int], bytes],
    clock: IReactorTime,
    http: HTTPClient,
) -> Customs:
    """``url`` is ``none``, ``builtin``, or the URL of a customs server, which is asked through ``http``.

    The builtin policy keeps ``limits`` and has its memory in ``records``.
    """
    if url == "none":
        return NoCustoms()
    if url == "builtin":
        return BuiltinCustoms(records, rules_of(limits), clock, random, limits.logins.wait / 1000)
    return RemoteCustoms(clock, http, url)


def rules_of(limits: Limits) -> Rules:
    """The rules as the settings have them."""
    mails, logins, lockout = limits.mails, limits.logins, limits.lockout
    return Rules(
        mails=Rule(MAILS, mails.max, mails.window, mails.report_only),
        logins=Rule(LOGINS, logins.max, logins.window, logins.report_only),
        lockout=Rule(LOCKOUT, lockout.max, lockout.window, lockout.report_only),
        bans_report_only=limits.bans.report_only,
    )
