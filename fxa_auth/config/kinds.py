"""What the values of a setting look like, and what is declared beside it.

A kind checks a value of the right Python type and says in words what is wanted. Which settings there are is no matter
here.
"""

from __future__ import annotations

import ipaddress
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from fxa_auth import emailaddress
from fxa_auth.language import TAG
from fxa_auth.records import EventKind
from fxa_auth.returnpath import MAX_PREFIX

_LONGEST_MS = 10**12
_LONGEST_SOCKET_PATH = 107
"""Octets that Linux has room for."""

_PLACE = r'(\[[^\s"#@/?\]]*\]|[^\s"#@/?:,\[]*)(:[0-9]*)?'
_PARAMETER = r'[a-z_]+=[^\s"#@&=]*'
_POSTGRES_URL = re.compile(
    rf'postgres(ql)?://([^\s"#@/?]*@)?{_PLACE}(,{_PLACE})*(/[^\s"#@?]*)?(\?({_PARAMETER}(&{_PARAMETER})*)?)?'
)
"""Stricter than libpq, which takes the rest of a password with a raw ``@`` or ``/`` for a host or a database."""

_ADDRESS = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9][A-Za-z0-9.-]*"
_EVENT_KINDS = tuple(kind.value for kind in EventKind)

SAME_AS_DEFAULT: Any = object()


class Refused(ValueError):
    """A value that needs a mend of its own; the message is the mend."""


@dataclass(frozen=True)
class Kind:
    """What a setting's values look like beyond their Python type.

    ``says`` completes the sentence "must be …". ``check`` gets a value of the right Python type and answers the value
    to use, or raises ValueError.
    """

    says: str
    check: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class Setting:
    """What is declared beside a setting's type: one sentence of help, and the rest where it applies.

    ``env`` is its environment variable, ``dev`` its default in the dev and test profiles, ``secret`` keeps its value
    out of everything that is printed, and ``repeated=False`` keeps a refused one out of the complaint.
    """

    help: str
    env: str | None = None
    dev: Any = SAME_AS_DEFAULT
    secret: bool = False
    repeated: bool = True


def _line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise Refused("must not contain control characters or lone surrogates")
    return text


def _text(text: str | None) -> str | None:
    if text == "":
        raise Refused("must not be empty: leave it out instead")
    return text if text is None else _line(text)


def _within(lowest: int, highest: int) -> Callable[[int], int]:
    def check(number: int) -> int:
        if not lowest <= number <= highest:
            raise ValueError
        return number

    return check


def _key_places(places: tuple[str, ...]) -> tuple[str, ...]:
    if not places or len(set(places)) < len(places):
        raise ValueError
    for place in places:
        _text(place)
        if place.startswith("env:") and not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", place):
            raise ValueError
    return places


def _lifetime(ms: int) -> int:
    if ms == 0 or abs(ms) > _LONGEST_MS:
        raise ValueError
    return ms


def _host(host: str) -> str:
    _line(host)
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        ipaddress.ip_address(host)
    elif not re.fullmatch(r"\w[\w-]*(\.\w[\w-]*)*", host, re.ASCII):
        raise ValueError
    return host


def _split_url(url: str) -> SplitResult:
    if not re.fullmatch(r"[\w.~:/?#\[\]@!$&'()*+,;=%-]+", url, re.ASCII):
        raise ValueError
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.netloc.endswith(":") or parts.port == 0:
        raise ValueError
    _host(parts.hostname or "")
    return parts


def _base_url(url: str) -> str:
    """Scheme and host in lower case, no slash at the end: paths are appended to it."""
    if "?" in url or "#" in url:
        raise ValueError
    parts = _split_url(url)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _optional_base_url(url: str | None) -> str | None:
    return None if url is None else _base_url(url)


def _queue_url(url: str | None) -> str | None:
    if url is None:
        return None
    if "?" in url or "#" in url or not _split_url(url).path.strip("/"):
        raise ValueError
    return url


def region_of_queue(url: str) -> str | None:
    """The region of Amazon in the URL of a queue; None for other services, and for old URLs that name none."""
    region, domain = r"([a-z]{2,}(?:-[a-z]+)+-[0-9]+)", r"(?:[a-z]+\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
    found = re.search(rf"(?:^|\.){region}\.{domain}$", _split_url(url).hostname or "")
    return found and found[1]


def _region(region: str | None) -> str | None:
    if region is not None and not re.fullmatch(r"[a-z0-9-]+", region):
        raise ValueError
    return region


def _customs_url(url: str) -> str:
    return url if url in ("none", "builtin") else _base_url(url)


def _jku_list(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Left as they are: a token's jku must equal one of them to the letter."""
    for url in urls:
        _split_url(url)
        if "#" in url:
            raise ValueError
    return urls


def _trusted(proxies: int | tuple[str, ...] | str) -> int | tuple[str, ...] | str:
    if isinstance(proxies, int):
        return _within(0, 100)(proxies)
    if isinstance(proxies, str):
        return proxies
    return tuple(str(ipaddress.ip_network(network)) for network in proxies)


def _database_url(url: str) -> str:
    _line(url)
    if not (re.fullmatch(r"sqlite://(/[^?#]*[^?#/])?", url) or _POSTGRES_URL.fullmatch(url)):
        raise ValueError
    return url


def _mailbox(text: str) -> str:
    name = r'("[^"\\]*"|[^\s"<>@,;:\\()\[\]][^"<>@,;:\\()\[\]]*)'
    if not re.fullmatch(rf"{_ADDRESS}|{name}?\s*<{_ADDRESS}>", _line(text)):
        raise ValueError
    return text


def _return_path(address: str | None) -> str | None:
    if address not in (None, "<>") and not re.fullmatch(_ADDRESS, address or ""):
        raise ValueError
    return address


def _ehlo_name(name: str | None) -> str | None:
    if name is None:
        return name
    if bracketed := re.fullmatch(r"\[(IPv6:)?(.+)\]", name):
        (ipaddress.IPv6Address if bracketed[1] else ipaddress.IPv4Address)(bracketed[2])
    elif ":" in name or re.fullmatch(r"[0-9.]+", name):
        raise ValueError
    else:
        _host(name)
    return name


def _verp(address: str | None) -> str | None:
    if address is None:
        return None
    prefix, _, domain = address.rpartition("@")
    if not re.fullmatch(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,{MAX_PREFIX}}}", prefix) or not all(prefix.split(".")):
        raise ValueError
    if ":" in domain or re.fullmatch(r"[0-9.]+", domain):
        raise ValueError
    return f"{prefix}@{_host(domain)}"


def _socket_path(path: str | None) -> str | None:
    if len((_text(path) or "").encode()) > _LONGEST_SOCKET_PATH:
        raise ValueError
    return path


def _domain(domain: str) -> str:
    return _host(domain).lower() if domain else domain


def _registration_mode(rules: tuple[str, ...]) -> tuple[str, ...]:
    """``open`` and ``closed`` leave the others nothing to say."""
    if not rules or len(set(rules)) < len(rules):
        raise ValueError
    for rule, whom in (("open", "everybody"), ("closed", "nobody")):
        if rule in rules and len(rules) > 1:
            raise Refused(f"must name {rule} alone or not at all: it lets {whom} in, whatever else is named")
    return rules


def _mail_domains(domains: tuple[str, ...]) -> tuple[str, ...]:
    """In the form that the domain of a normalized address has."""
    if not all(emailaddress.is_valid(f"a@{domain}") for domain in domains):
        raise ValueError
    return tuple(emailaddress.normalize(domain) for domain in domains)


def _optional_url(url: str | None) -> str | None:
    if url is not None:
        _split_url(url)
    return url


def _colour(colour: str) -> str:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", colour):
        raise ValueError
    return colour.lower()


def _language_tag(tag: str) -> str:
    if not TAG.fullmatch(tag):
        raise ValueError
    return tag


def _language_tags(tags: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if tags is not None and not tags:
        raise Refused("must not be empty: leave it out instead")
    for tag in tags or ():
        _language_tag(tag)
    return tags


def _topic_arn(arn: str) -> str:
    if arn != "disabled" and not re.fullmatch(
        r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w-]{1,256}(\.fifo)?", arn, re.ASCII
    ):
        raise ValueError
    return arn


def _event_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(kinds)) < len(kinds) or not set(kinds) <= set(_EVENT_KINDS):
        raise ValueError
    return kinds


def _some_event_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    if not kinds:
        raise ValueError
    return _event_kinds(kinds)


def masked_url(text: str) -> str:
    """The text with user and password, and a password in a query, taken out of any URL in it."""
    without_user = re.sub(r"(postgres(ql)?://)[^\s\"]*@|(://)[^\s\"/?#]*@", r"\1\3***@", text)
    return re.sub(r"([?&](?:ssl)?password=)[^&\s\"]*", r"\1***", without_user)


def literal(value: Any) -> str:
    """The value on one line, much as a file would have it."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text if text.isprintable() else json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):
        return f"<{type(value).__name__}>"


Port = Annotated[int, Kind("a port number, 0 to 65535", _within(0, 65535))]
OptionalPort = Annotated[
    int | None, Kind("a port number, 0 to 65535", lambda port: port if port is None else _within(0, 65535)(port))
]
Pause = Annotated[int, Kind("a whole number of ms, 0 or more", _within(0, _LONGEST_MS))]
Interval = Annotated[int, Kind("a whole number of ms, 1 or more", _within(1, _LONGEST_MS))]
Lifetime = Annotated[int, Kind("a whole number of ms, not 0; a negative one expires at once", _lifetime)]
Count = Annotated[int, Kind("a whole number, 0 or more", _within(0, 2**31 - 1))]
PoolSize = Annotated[int, Kind("a whole number, 1 to 1000", _within(1, 1000))]
Connections = Annotated[int, Kind("a whole number, 1 to 100", _within(1, 100))]
Host = Annotated[str, Kind("a host name or IP address", _host)]
FilePath = Annotated[str, Kind("a file name", _text)]
KeyPlaces = Annotated[tuple[str, ...], Kind('a list of file names or "env:NAME", one at least', _key_places)]
OptionalFilePath = Annotated[str | None, Kind("a file name", _text)]
Text = Annotated[str, Kind("text on one line", _line)]
OptionalSocketPath = Annotated[str | None, Kind(f"a file name of at most {_LONGEST_SOCKET_PATH} octets", _socket_path)]
OptionalText = Annotated[str | None, Kind("text on one line", _text)]
BaseUrl = Annotated[str, Kind("an http(s) URL without user, query and fragment", _base_url)]
OptionalBaseUrl = Annotated[str | None, Kind("an http(s) URL without user, query and fragment", _optional_base_url)]
CustomsUrl = Annotated[str, Kind('"builtin", "none" or an http(s) URL without user, query and fragment', _customs_url)]
OptionalQueueUrl = Annotated[
    str | None, Kind("an http(s) URL such as https://sqs.us-east-1.amazonaws.com/123456789012/bounces", _queue_url)
]
OptionalRegion = Annotated[str | None, Kind("a region such as us-east-1", _region)]
JkuList = Annotated[tuple[str, ...], Kind("a list of http(s) URLs without user and fragment", _jku_list)]
DatabaseUrl = Annotated[
    str,
    Kind(
        "sqlite:///relative, sqlite:////absolute, sqlite:// (memory) or postgresql://…, with special signs of names and"
        " passwords written as %40 and the like",
        _database_url,
    ),
]
Mailbox = Annotated[str, Kind("one ASCII mail address, with or without a name: Name <user@host>", _mailbox)]
ReturnPath = Annotated[str | None, Kind('one bare ASCII mail address, or "<>" for none', _return_path)]
EhloName = Annotated[
    str | None, Kind("a domain name, or an address like [192.0.2.1] or [IPv6:2001:db8::1]", _ehlo_name)
]
Name = Annotated[str, Kind("text on one line, not empty", _text)]
OptionalUrl = Annotated[str | None, Kind("an http(s) URL without user", _optional_url)]
Colour = Annotated[str, Kind("a colour such as #0a67c4", _colour)]
LanguageTag = Annotated[str, Kind("a language tag, such as pt-BR", _language_tag)]
LanguageTags = Annotated[tuple[str, ...] | None, Kind("a list of language tags, such as pt-BR", _language_tags)]
Verp = Annotated[
    str | None,
    Kind(f"an ASCII mail address such as bounce@example.com, with at most {MAX_PREFIX} characters before the @", _verp),
]
Domain = Annotated[str, Kind('a domain name, or "" for none', _domain)]
RegistrationMode = Annotated[
    tuple[Literal["open", "closed", "invite", "domains", "first"], ...],
    Kind('["open"], ["closed"], or a list of invite, domains, first, each once at most', _registration_mode),
]
MailDomains = Annotated[
    tuple[str, ...], Kind('a list of mail domains such as ["example.com"], without @ and *', _mail_domains)
]
TopicArn = Annotated[str, Kind('"disabled" or arn:aws:sns:REGION:ACCOUNT:NAME', _topic_arn)]
EventKinds = Annotated[tuple[str, ...], Kind(f"a list of some of {', '.join(_EVENT_KINDS)}", _event_kinds)]
SomeEventKinds = Annotated[
    tuple[str, ...], Kind(f"a list of some of {', '.join(_EVENT_KINDS)}, one at least", _some_event_kinds)
]
TrustedProxies = Annotated[
    int | tuple[str, ...] | Literal["loopback"],
    Kind('a number of hops, a list of networks such as ["10.0.0.0/8"] without host bits, or "loopback"', _trusted),
]
