"""Settings that need an extra which is not installed: one line for each, before anything is opened."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import aws
from fxa_auth.config import Layer, Loaded, load
from fxa_auth.extras import missing_extras

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/123456789012/q"
ARN = "arn:aws:sns:eu-west-1:123456789012:accounts"
EVERYTHING = {"snsTopicArn": ARN, "bounces": {"bounceQueueUrl": QUEUE_URL, "complaintQueueUrl": QUEUE_URL}}


def loaded(**values: object) -> Loaded:
    return load([Layer("a.toml", values)], {})


class ExtrasTests(SynchronousTestCase):
    def test_without_the_extra_each_setting_that_needs_it_is_a_line_with_the_mend(self) -> None:
        self.patch(aws, "is_installed", lambda: False)
        found = list(missing_extras(loaded(**EVERYTHING)))
        names = [complaint.partition(" = ")[0] for complaint in found]
        self.assertEqual(names, ["snsTopicArn", "bounces.bounceQueueUrl", "bounces.complaintQueueUrl"])
        for complaint in found:
            mend = r"needs what is not installed: run pip install 'fxa-auth\[aws\]'"
            self.assertRegex(complaint, rf'^\S+ = "\S+" \(a\.toml\): {mend}$')

    def test_without_such_a_setting_nothing_is_missing(self) -> None:
        self.patch(aws, "is_installed", lambda: False)
        self.assertEqual(list(missing_extras(loaded())), [])

    def test_with_the_extra_nothing_is_missing(self) -> None:
        self.assertEqual(list(missing_extras(loaded(**EVERYTHING))), [])
