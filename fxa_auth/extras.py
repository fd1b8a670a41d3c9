"""The installable extras that settings call for: whether they are there is said before anything needs them."""

from __future__ import annotations

from collections.abc import Iterator

from fxa_auth import aws
from fxa_auth.config import Loaded


def missing_extras(loaded: Loaded) -> Iterator[str]:
    """One complaint for each setting that needs an extra that is not installed."""
    if aws.is_installed():
        return
    settings = loaded.settings
    for name, is_needed in (
        ("snsTopicArn", settings.sns_topic_arn != "disabled"),
        ("bounces.bounceQueueUrl", settings.bounces.bounce_queue_url is not None),
        ("bounces.complaintQueueUrl", settings.bounces.complaint_queue_url is not None),
    ):
        if is_needed:
            yield loaded.complaint(name, "needs what is not installed: run pip install 'fxa-auth[aws]'")
