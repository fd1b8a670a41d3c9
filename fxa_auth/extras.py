"""The installable extras that settings call for: whether they are there is said before anything needs them."""

from __future__ import annotations

from collections.abc import Iterator

from fxa_auth import aws
from fxa_auth.config import Loaded


def missing_extras(loaded: Loaded) -> Iterator[str]:
    """One complaint for each setting that needs an extra that is not installed."""
    if loaded.settings.sns_topic_arn != "disabled" and not aws.is_installed():
        yield loaded.complaint("snsTopicArn", "needs what is not installed: run pip install 'fxa-auth[aws]'")
