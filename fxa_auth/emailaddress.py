"""What counts as an email address, and which two addresses are the same account.

The rule is the protocol's own (docs/api.md, "Values"), neither RFC 5321's nor a browser's: ASCII is checked
character by character, everything else passes.
"""

from __future__ import annotations

import re

MAX_LENGTH = 255

# A run of letters, digits and non-ASCII characters may be broken by single dots or by hyphens, never by ".-", "-." or
# "..", and the domain neither begins nor ends with one.
_NON_ASCII = r"\u0080-\ud7ff\ue000-\U0010ffff"  # half of a surrogate pair is no character
_DOMAIN_CHARACTERS = rf"A-Za-z0-9{_NON_ASCII}"
_PATTERN = re.compile(
    rf"[A-Za-z0-9.!#$%&'*+\-/=?^_`{{|}}~{_NON_ASCII}]+"
    r"@"
    rf"[{_DOMAIN_CHARACTERS}]+(?:(?:\.|-+)[{_DOMAIN_CHARACTERS}]+)*"
)


def is_valid(address: str) -> bool:
    """Tell whether the protocol takes this text as an email address."""
    return len(address) <= MAX_LENGTH and _PATTERN.fullmatch(address) is not None


def normalize(address: str) -> str:
    """The form by which an account is found: simply lower-cased, without case folding or normalisation."""
    return address.lower()
