"""A Chromium without a window that shows pages of the test's own; it is spoken to in its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_S = 60

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class ChromiumFailed(Exception):
    """It is not there, has ended, does not answer in time, or refuses a command."""


class Chromium:
    """One browser with one page, for as long as the ``with`` block lasts."""

    def __enter__(self) -> Chromium:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            raise ChromiumFailed("there is no chromium: apt-get install chromium")
        self._folder = tempfile.mkdtemp(prefix="fxa-chromium-")
        its_input, self._output = os.pipe()
        self._input, its_output = os.pipe()
        # It reads commands from file descriptor 3 and writes answers to 4. (Debian's sh knows no number above 9.)
        shell = ["bash", "-c", f'exec "$@" 3<&{its_input} 4>&{its_output}', "bash"]
        self._process = subprocess.Popen(
            [*shell, program, *_FLAGS, f"--user-data-dir={self._folder}"],
            pass_fds=(its_input, its_output),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self._received = b""
        self._commands = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._input)
        os.close(self._output)
        shutil.rmtree(self._folder, ignore_errors=True)

    def show(self, html: str, width: int, dark: bool) -> None:
        """Show a page, in a window of so many CSS pixels, to a reader who prefers dark colours or light ones."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=600, deviceScaleFactor=1, mobile=True)
        preference = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[preference])
        frame = self.call("Page.getFrameTree")["frameTree"]["frame"]["id"]
        self.call("Page.setDocumentContent", frameId=frame, html=html)

    def open(self, url: str, accept_language: str) -> None:
        """Have a page loaded, whose scripts do not run; it may take a while until it is there."""
        self.call("Emulation.setScriptExecutionDisabled", value=True)
        self.call("Network.enable")
        self.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": accept_language})
        self.call("Page.navigate", url=url)

    def press(self, key: str, code: int) -> None:
        """Press and release a key, by its name and its Windows virtual key code."""
        key_event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **key_event, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key_event)

    def evaluate(self, script: str) -> Any:
        """What a JavaScript expression is on the page that is shown."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise ChromiumFailed(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """The whole page as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def call(self, method: str, **parameters: Any) -> Mapping[str, Any]:
        """The answer to one command."""
        self._commands += 1
        command: dict[str, Any] = {"id": self._commands, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._output, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT_S
        while (answer := self._receive(deadline)).get("id") != self._commands:
            pass
        if "error" in answer:
            raise ChromiumFailed(f"{method}: {answer['error']}")
        result: Mapping[str, Any] = answer["result"]
        return result

    def _receive(self, deadline: float) -> dict[str, Any]:
        """The next answer or event."""
        while b"\0" not in self._received:
            if not select.select([self._input], [], [], max(0, deadline - time.monotonic()))[0]:
                raise ChromiumFailed(f"no answer within {TIMEOUT_S} s")
            chunk = os.read(self._input, 1 << 20)
            if not chunk:
                raise ChromiumFailed(f"it ended by itself, with code {self._process.wait()}")
            self._received += chunk
        message, _, self._received = self._received.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer
