"""The settings: what there is (``tree``), what values look like (``kinds``), how they come together (``loading``).

What is allowed, but hardly meant, is told by ``doubts``.
"""

from fxa_auth.config.doubts import doubts
from fxa_auth.config.kinds import literal, masked_url
from fxa_auth.config.loading import ConfigError, Layer, Loaded, load
from fxa_auth.config.tree import DECLARED, Database, Declared, Limits, Profile, Settings, SettingsGroup, Smtp

__all__ = [
    "DECLARED",
    "ConfigError",
    "Database",
    "Declared",
    "Layer",
    "Limits",
    "Loaded",
    "Profile",
    "Settings",
    "SettingsGroup",
    "Smtp",
    "doubts",
    "literal",
    "load",
    "masked_url",
]
