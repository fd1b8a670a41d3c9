"""Extras that settings call for: said before anything needs them, and only if something does."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import aws
from fxa_auth.config import Layer, load
from fxa_auth.extras import missing_extras

ARN = "arn:aws:sns:eu-west-1:123456789012:accounts"


class ExtraTests(SynchronousTestCase):
    def complaints(self, installed: bool, topic: str) -> list[str]:
        self.patch(aws, "is_installed", lambda: installed)
        return list(missing_extras(load([Layer("a.toml", {"snsTopicArn": topic})], {})))

    def test_a_topic_needs_one(self) -> None:
        complaint = f"""snsTopicArn = "{ARN}" (a.toml): needs what is not installed: run pip install 'fxa-auth[aws]'"""
        self.assertEqual(self.complaints(False, ARN), [complaint])

    def test_nothing_is_missed_that_is_there_or_not_needed(self) -> None:
        self.assertEqual(self.complaints(True, ARN), [])
        self.assertEqual(self.complaints(False, "disabled"), [])
