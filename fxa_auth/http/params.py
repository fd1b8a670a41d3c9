"""Reading the parameters of a request: well-formed JSON, declared members, and what each of them may look like.

A request model is a frozen dataclass whose fields are annotated with a ``Param``; a field with a default is optional.
The rules are those of docs/api.md, "Parameters" and "Values".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_type_hints
from urllib.parse import parse_qsl

from fxa_auth import emailaddress, errors, invitecodes
from fxa_auth.preverify import looks_like_token

LATER_CLIENTS_SEND = frozenset(
    (
        "metricsContext",
        "style",
        "reason",
        "originalLoginEmail",
        "type",
        "reminder",
        "marketingOptIn",
        "newsletters",
        "inviteCode",
    )
)
"""Keys of newer clients that are accepted everywhere, and ignored where the model does not read them."""

_MAX_DIGITS = 308
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_SERVICE = re.compile(r"[A-Za-z0-9]{1,16}")
_REDIRECT_URL = re.compile(r"https?://([A-Za-z0-9_-][A-Za-z0-9_.-]*)(?::[0-9]{1,5})?(?:[/?#].*)?", re.IGNORECASE)
_UNSAFE_IN_URL = re.compile(r"[\\\s\x00-\x1f\x7f-\x9f]")

_Model = TypeVar("_Model")


@dataclass(frozen=True)
class Param:
    """A member's name on the wire, and the function that reads its value or raises ValueError."""

    name: str
    read: Callable[[Any], Any]


def read_json(body: bytes) -> Any:
    """The JSON value of a body.

    :raises ApiError: 106 for anything that is not well-formed, in strict UTF-8, and within a double's range
    """
    try:
        text = body.decode("utf-8")
        return json.loads(text, parse_constant=_refuse, parse_int=_read_int, parse_float=_read_float)
    except (ValueError, RecursionError):
        raise errors.invalid_json() from None


def read_query(query: str) -> dict[str, Any]:
    """The parameters of a query string; one that stands twice has a list for its value."""
    values: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        values[name] = [values[name], value] if name in values else value
    return values


class ModelReader:
    """Reads request models as this server's settings have them.

    ``redirect_domain`` is that of ``redirect_to`` below; ``withheld`` names parameters that some models declare and
    this server does not know.
    """

    def __init__(self, redirect_domain: str, withheld: Collection[str]) -> None:
        self._read_here = {"redirectTo": redirect_to(redirect_domain)}
        self._withheld = withheld

    def read(
        self, model: type[_Model], values: Mapping[str, Any], source: str, ignored: Collection[str] = ()
    ) -> _Model:
        """Read the declared parameters in order, then refuse all unknown ones of a payload but those ``ignored``.

        ``source`` is ``payload`` or ``query``.

        :raises ApiError: 108 or 107 for the first fault
        """
        found: dict[str, Any] = {}
        known = {*LATER_CLIENTS_SEND, *ignored}
        for field in fields(model):  # type: ignore[arg-type]
            param: Param = _param(model, field.name)  # type: ignore[arg-type]  # a class is hashable
            if param.name in self._withheld:
                continue
            known.add(param.name)
            if param.name not in values:
                if field.default is MISSING:
                    raise errors.missing_parameter(param.name)
                continue
            read = self._read_here.get(param.name, param.read)
            try:
                found[field.name] = read(values[param.name])
            except ValueError:
                raise errors.invalid_parameter(source, [param.name]) from None
        unknown = [name for name in values if name not in known]
        if unknown and source == "payload":
            raise errors.invalid_parameter(source, unknown)
        return model(**found)


@cache
def _param(model: Any, field_name: str) -> Param:
    param = get_args(get_type_hints(model, include_extras=True)[field_name])[1]
    assert isinstance(param, Param)
    return param


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _read_int(digits: str) -> int:
    if len(digits.lstrip("-")) > _MAX_DIGITS:
        raise ValueError("out of range")
    return int(digits)


def _read_float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("out of range")
    return number


def text(value: Any, longest: int = 16_384) -> str:
    """Any text but the empty one, free of NUL and of lone surrogates, which no database keeps."""
    if not isinstance(value, str) or not value or len(value) > longest or "\0" in value:
        raise ValueError("not a text")
    value.encode("utf-8")
    return value


def email(value: Any) -> str:
    if not emailaddress.is_valid(text(value)):
        raise ValueError("not an email address")
    return str(value)


def hex_bytes(shortest: int, longest: int) -> Callable[[Any], bytes]:
    """A reader of that many bytes in hex, of either case."""

    def read(value: Any) -> bytes:
        digits = text(value)
        if not _HEX.fullmatch(digits) or not shortest <= len(digits) // 2 <= longest:
            raise ValueError("not hex of this length")
        return bytes.fromhex(digits)

    return read


def flag(value: Any) -> bool:
    """A boolean, or one of the words that the original's validator took for one."""
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if not isinstance(value, str) or value.lower() not in words:
        raise ValueError("not a boolean")
    return words[value.lower()]


def duration_ms(value: Any) -> int:
    """A whole number of ms of at most a day, also as decimal digits in a string."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 86_400_000:
        raise ValueError("not a duration")
    return value


def service(value: Any) -> str:
    if not _SERVICE.fullmatch(text(value)):
        raise ValueError("not a service name")
    return str(value)


def pre_verify_token(value: Any) -> str:
    if not looks_like_token(text(value)):
        raise ValueError("not a JWS")
    return str(value)


def invite_code(value: Any) -> str:
    return text(value, invitecodes.LONGEST)


def resume(value: Any) -> str:
    return text(value, 2048)


def redirect_to(domain: str) -> Callable[[Any], str]:
    """A reader of http(s) URLs whose host is ``domain`` or a subdomain of it; any host if that is empty."""

    def read(value: Any) -> str:
        url = text(value, 512)
        match = _REDIRECT_URL.fullmatch(url)
        if match is None or _UNSAFE_IN_URL.search(url):
            raise ValueError("not a plain http(s) URL")
        host = match[1].lower()
        if domain and host != domain and not host.endswith(f".{domain}"):
            raise ValueError("another host")
        return url

    return read


Email = Annotated[str, Param("email", email)]
AuthPw = Annotated[bytes, Param("authPW", hex_bytes(32, 32))]
Uid = Annotated[bytes, Param("uid", hex_bytes(1, 16))]
WholeUid = Annotated[bytes, Param("uid", hex_bytes(16, 16))]
Code = Annotated[bytes, Param("code", hex_bytes(16, 16))]
RedirectTo = Annotated[str | None, Param("redirectTo", redirect_to(""))]
Service = Annotated[str | None, Param("service", service)]
Resume = Annotated[str | None, Param("resume", resume)]
