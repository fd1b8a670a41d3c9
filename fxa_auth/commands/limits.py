"""``fxa-auth limits``: what the builtin abuse policy has counted, and how an operator has it forget.

What is too many is said by the rules of ``customs.policy``; here they are asked, and their verdicts told.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from fxa_auth import clientnetwork, emailaddress
from fxa_auth.clock import time_ms
from fxa_auth.commands import ban
from fxa_auth.commands.running import add_settings_options, complain, run_on_storage, say, shown_time, text
from fxa_auth.config import Settings
from fxa_auth.customs.chosen import rules_of
from fxa_auth.customs.networks import network_keys
from fxa_auth.customs.policy import Rule, Verdict, judge, judge_lockout
from fxa_auth.records import Ban, Standing
from fxa_auth.storage import Storage

if TYPE_CHECKING:
    from fxa_auth.commands import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    limits = subparsers.add_parser("limits", help="see whom the abuse policy blocks, or have it forget")
    actions = limits.add_subparsers(metavar="ACTION", required=True)
    for name, run, summary, details in (
        ("show", _show, "print what is counted, for whom, and until when", "Bans are shown too."),
        (
            "clear",
            _clear,
            "forget what was counted",
            "Bans stay (fxa-auth ban), and so do locks of accounts (fxa-auth account unlock).",
        ),
    ):
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
        action.add_argument("--ip", metavar="ADDRESS", type=_ip, help="only for this client; an IPv6 one is its /64")
        action.add_argument("--email", metavar="ADDRESS", type=text, help="only for this mail address")
        if run is _clear:
            action.add_argument("--all", action="store_true", help="for all clients and all mail addresses")
        add_settings_options(action)
        action.set_defaults(run=run)


def _ip(argument: str) -> str:
    try:
        return str(ip_address(argument))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r} is not an IP address") from None


def _show(options: argparse.Namespace) -> int:
    async def work(reactor: Any, settings: Settings, storage: Storage) -> None:
        rules, limits, now_ms = rules_of(settings.limits), storage.store.limits, time_ms(reactor)
        email, client = _chosen(options)
        lines: list[str] = []
        if email is not None or client is None:
            for standing in await limits.standings(rules.mails.name, email):
                lines += _told(standing, rules.mails, judge(rules.mails, standing.times_ms, now_ms))
            for standing in await limits.unforgiven(rules.logins.name, email):
                lines += _told(standing, rules.lockout, judge_lockout(rules.lockout, standing.times_ms, now_ms))
        for standing in await limits.standings(rules.logins.name, email, client):
            lines += _told(standing, rules.logins, judge(rules.logins, standing.times_ms, now_ms))
        bans = await storage.store.bans.in_force(now_ms)
        lines += map(ban.told, _of_interest(bans, email, options.ip))
        for line in lines or ["Nothing is counted."]:
            say(line)
        ban.warn_unless_heeded(settings)

    return run_on_storage(options, work)


def _clear(options: argparse.Namespace) -> int:
    if not options.all and options.ip is None and options.email is None:
        complain("name whom it is about, by --ip or --email, or say --all: whoever was guessing may then go on")
        return 1

    async def work(reactor: Any, settings: Settings, storage: Storage) -> None:
        email, client = _chosen(options)
        forgotten = await storage.store.limits.clear(email=email, client=client)
        say(f"counts forgotten: {forgotten}")

    return run_on_storage(options, work)


def _chosen(options: argparse.Namespace) -> tuple[str | None, str | None]:
    """The address and the client that are asked for, as they are recorded."""
    email = None if options.email is None else emailaddress.normalize(options.email)
    return email, None if options.ip is None else clientnetwork.of(options.ip)


def _told(standing: Standing, rule: Rule, verdict: Verdict) -> Sequence[str]:
    """A line about what still counts; none if nothing does."""
    if not verdict.count:
        return []
    who = f"{standing.email} from {standing.client}" if standing.client else standing.email
    state = "limited" if verdict.block else "over the limit" if verdict.lockout else "counted"
    report = " (report only)" if rule.report_only and state != "counted" else ""
    return [
        f"{rule.name:<8}{who}: {verdict.count} (limit {rule.max}), {state} until {shown_time(verdict.until_ms)}{report}"
    ]


def _of_interest(bans: Iterable[Ban], email: str | None, ip: str | None) -> list[Ban]:
    if email is None and ip is None:
        return list(bans)
    subjects = {email, *(network_keys(ip) if ip is not None else ())}
    return [found for found in bans if found.subject in subjects]
