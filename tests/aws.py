"""Amazon's services for tests: moto in a child process, and what a test asks of it past the code under test.

There is one for the whole run, which ends with it.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session

from tests import aws_peer

REGION = "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDFORTESTS", "AWS_SECRET_ACCESS_KEY": "signs-requests-in-tests"}
_NOWHERE = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def environment(credentials: Mapping[str, str] = CREDENTIALS) -> dict[str, str]:
    """That of this process, in which botocore finds these credentials and no others of this machine."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**others, **_NOWHERE, **credentials}


@cache
def endpoint() -> str:
    """The URL of all of the services."""
    command = [sys.executable, "-P", str(Path(aws_peer.__file__))]  # else tests/http would hide the library's
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None

    def end() -> None:
        process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()

    atexit.register(end)
    port = process.stdout.readline().decode().strip()
    assert port, "moto has not started"
    return f"http://127.0.0.1:{port}"


@cache
def client(service: str) -> Any:
    """Amazon's own client of a service, which blocks."""
    keys = {name.lower(): value for name, value in CREDENTIALS.items()}
    return botocore.session.Session().create_client(service, region_name=REGION, endpoint_url=endpoint(), **keys)
