"""A headless Chromium, spoken to through the pipe of its developer tools."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')
PROGRAM = next(filter(None, map(shutil.which, PROGRAMS)), None)
WAIT = 120.0  # seconds for an answer, on a busy machine


class Browser:
    """One page of a browser of its own; a context manager.

    Attributes:
        requests: URLs that the page has asked for.
        problems: What the page wrote to its console as an error, or threw.
    """

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read_ours, self._answers_out = os.pipe()
        self._commands_in, write_ours = os.pipe()
        self._reader, self._writer = read_ours, write_ours
        flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe']
        flags += ['--no-first-run', '--disable-background-networking', '--disable-dev-shm-usage']
        flags += ['--autoplay-policy=no-user-gesture-required', '--window-size=1200,1000']
        # Chromium reads commands from file 3 and answers on file 4
        code = f'exec "$0" "$@" 3<&{self._commands_in} 4>&{self._answers_out}'
        self.process = subprocess.Popen(
            ['bash', '-c', code, PROGRAM, *flags, f'--user-data-dir={self.folder.name}'],
            pass_fds=(self._commands_in, self._answers_out),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(self._commands_in)
        os.close(self._answers_out)
        self._numbers = itertools.count(1)
        self._buffer = b''
        self._session: str | None = None
        self.requests: list[str] = []
        self.problems: list[str] = []

    def __enter__(self) -> 'Browser':
        target = self.send('Target.createTarget', url='about:blank')['targetId']
        attached = self.send('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Network', 'Runtime', 'Log'):
            self.send(f'{domain}.enable')
        return self

    def __exit__(self, *error) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._reader)
        os.close(self._writer)
        self.folder.cleanup()

    def send(self, method: str, **params) -> dict:
        """Send a command and wait for its result; events that come meanwhile are noted."""
        number = next(self._numbers)
        command = {'id': number, 'method': method, 'params': params}
        if self._session:
            command['sessionId'] = self._session
        os.write(self._writer, json.dumps(command).encode() + b'\0')
        while True:
            message = self._receive()
            if message.get('id') == number:
                assert 'error' not in message, f'{method}: {message["error"]}'
                return message['result']

    def _receive(self) -> dict:
        end = time.monotonic() + WAIT
        while b'\0' not in self._buffer:
            left = max(0.0, end - time.monotonic())
            ready, _, _ = select.select([self._reader], [], [], left)
            assert ready, 'the browser does not answer'
            part = os.read(self._reader, 1 << 20)
            assert part, 'the browser has ended'
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b'\0')
        message = json.loads(line)
        params = message.get('params', {})
        if message.get('method') == 'Network.requestWillBeSent':
            self.requests.append(params['request']['url'])
        elif message.get('method') == 'Runtime.exceptionThrown':
            self.problems.append(params['exceptionDetails']['text'])
        elif message.get('method') == 'Log.entryAdded' and params['entry']['level'] == 'error':
            self.problems.append(params['entry']['text'])
        return message

    def open(self, path: Path) -> None:
        """Open a file."""
        self.send('Page.navigate', url=path.resolve().as_uri())
        self.run(
            'new Promise(done => document.readyState === "complete" ? done()'
            ' : window.addEventListener("load", () => done()))'
        )

    def run(self, code: str):
        """The value of an expression in the page; a promise is awaited."""
        found = self.send(
            'Runtime.evaluate', expression=code, awaitPromise=True, returnByValue=True
        )
        assert 'exceptionDetails' not in found, found['exceptionDetails']
        return found['result'].get('value')

    def screenshot(self, path: Path) -> None:
        """Write the visible part of the page as PNG."""
        path.write_bytes(base64.b64decode(self.send('Page.captureScreenshot')['data']))
