"""Headless Chromium through the DevTools protocol, for slow tests of pages as readers see them.

websocket-client, which Jupyter needs anyway, is all it takes; Playwright would bring 45 MB and a
Node of its own for the same few calls.
"""
import base64
import contextlib
import functools
import http.server
import itertools
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
NONE = "no Chromium here: install it (Debian: apt-get install chromium) to run this test"

class Tab:
    "A page that is open in the browser; `events` are what it has said about itself, newest last."
    def __init__(self, address: str):
        self.socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self.numbers, self.events = itertools.count(1), list[dict[str, Any]]()
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        "Call a method of the protocol and return its result."
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self.socket.recv())
            if said.get("id") == number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]
            if "method" in said:
                self.events.append(said)

    def evaluate(self, script: str) -> Any:
        "The value of an expression in the page; promises are waited for."
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                          awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 60.) -> Any:
        "Wait until an expression is true, and return it."
        until = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < until, f"not within {seconds:.0f} s: {script}"
            time.sleep(.2)
        return value

    def open(self, url: str) -> None:
        "Go to a page and wait until it has loaded."
        self.call("Page.navigate", url=url)
        there = f"location.href.split('#')[0] == {json.dumps(url.split('#')[0])}"
        self.wait(f"document.readyState == 'complete' && {there}")

    def click(self, selector: str) -> None:
        "Press the mouse on the first visible element that a selector finds, once there is one."
        found = f"document.querySelectorAll({json.dumps(selector)})"
        seen = f"[...{found}].find(e => e.getClientRects().length)"
        self.wait(f"!!{seen}")
        box = f"{seen}.getBoundingClientRect()"
        x, y = self.evaluate(f"(r => [r.x + r.width/2, r.y + r.height/2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def look(self, width: int, height: int, dark: bool = False) -> None:
        "Set the size of the window and the preferred colours."
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, still])

    def screenshot(self, path: Path, whole: bool = False) -> None:
        "Write a PNG of the window, or of the whole page."
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        height = min(size["height"], 16_000)
        page = {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1}
        clip = {"clip": page} if whole else {}
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                          **clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def requested(self) -> set[str]:
        "All that was asked of a network so far."
        return {e["params"]["request"]["url"] for e in self.events
                if e["method"] == "Network.requestWillBeSent"}

    def errors(self) -> list[str]:
        "What scripts have failed with so far."
        thrown = [e["params"]["exceptionDetails"] for e in self.events
                  if e["method"] == "Runtime.exceptionThrown"]
        return [details.get("exception", {}).get("description", "") for details in thrown]

def debugging_address(folder: str, process: subprocess.Popen[bytes]) -> str:
    "Where a browser that has just been started lists its tabs, once it says so in its folder."
    until, port = time.monotonic() + 60, Path(folder, "DevToolsActivePort")
    while not (port.exists() and port.read_text().count("\n")):
        assert process.poll() is None and time.monotonic() < until, "Chromium did not start"
        time.sleep(.1)
    return f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"

@contextlib.contextmanager
def browser() -> Iterator[Tab]:
    "An empty tab of a new browser, which is closed at the end."
    assert CHROMIUM, NONE
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu",
                   "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
                   "--disable-background-networking", "--remote-debugging-port=0",
                   f"--user-data-dir={folder}", "about:blank"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        try:
            address = debugging_address(folder, process)
            with urllib.request.urlopen(address, timeout=60) as answer:
                tabs = json.load(answer)
            page = next(t for t in tabs if t["type"] == "page")
            tab = Tab(page["webSocketDebuggerUrl"])
            try:
                yield tab
            finally:
                tab.socket.close()
        finally:
            process.terminate()
            process.wait(30)

@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    "The address of a folder, served on a free port of this machine."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None: pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
