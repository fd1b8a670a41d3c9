"""Publishing to a topic of Amazon SNS, or of a service that speaks like it.

The message is what the original server sent, so that its subscribers need not change; what else there is to know
travels beside it, as attributes. The request is made and signed by ``aws``.
"""

from __future__ import annotations

import json
from urllib.parse import urlencode

from fxa_auth.aws import AwsClient
from fxa_auth.events import DELIVERY_TIMEOUT_S
from fxa_auth.records import Event

_API_VERSION = "2010-03-31"


class SnsTopic:
    """The topic with this ARN (``arn:aws:sns:REGION:ACCOUNT:NAME``)."""

    def __init__(self, aws: AwsClient, arn: str) -> None:
        self._aws = aws
        self._arn = arn
        self._region = arn.split(":")[3]

    async def deliver(self, event: Event) -> None:
        """Publish one event; raises what ``aws`` does."""
        form = {
            "Action": "Publish",
            "Version": _API_VERSION,
            "TopicArn": self._arn,
            "Message": json.dumps({"event": event.kind, **event.payload}),
            **_attributes({"number": event.number, "time": event.created_at_ms}),
        }
        if self._arn.endswith(".fifo"):
            form |= {"MessageGroupId": event.uid.hex(), "MessageDeduplicationId": str(event.number)}
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        await self._aws.request("sns", self._region, headers, urlencode(form).encode(), DELIVERY_TIMEOUT_S)


def _attributes(numbers: dict[str, int]) -> dict[str, str]:
    form = {}
    for position, (name, number) in enumerate(numbers.items(), start=1):
        entry = f"MessageAttributes.entry.{position}"
        form[f"{entry}.Name"] = name
        form[f"{entry}.Value.DataType"] = "Number"
        form[f"{entry}.Value.StringValue"] = str(number)
    return form
