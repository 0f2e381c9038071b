"""Requests that go on in the background while a test breaks things, and what became of each of them."""

import dataclasses
import threading
import time

import requests


@dataclasses.dataclass
class Outcome:
    """One request: when it was sent and answered (monotonic seconds), and its status; `fault` instead when no answer came."""

    begin: float
    end: float
    status: int | None
    answer: object
    fault: str = ""

    @property
    def seconds(self):
        """How long it took."""
        return self.end - self.begin


class Load:
    """Calls `send(thread number, count)`, which returns an answer of `requests`, over and over in threads until the block ends.

    `check(answer)` runs on every answer at once; what it raises, stop() raises.
    """

    def __init__(self, send, threads=2, pause=0.01, check=None):
        self.send = send
        self.pause = pause
        self.check = check
        self.outcomes = []
        self.failures = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a request hangs"
        if self.failures and kind is None:
            raise self.failures[0]

    def _run(self, number):
        count = 0
        while not self._ended.is_set():
            begin = time.monotonic()
            try:
                answer = self.send(number, count)
                self.outcomes.append(Outcome(begin, time.monotonic(), answer.status_code, answer))
                if self.check is not None:
                    self.check(answer)
            except requests.RequestException as error:
                self.outcomes.append(Outcome(begin, time.monotonic(), None, None, repr(error)))
            except Exception as error:  # of the check: the test's thread raises it
                self.failures.append(error)
                return
            count += 1
            self._ended.wait(self.pause)

    def statuses(self, since=0):
        """How often each status came, of the requests sent since a time."""
        found = {}
        for outcome in list(self.outcomes):
            if outcome.begin >= since:
                found[outcome.status] = found.get(outcome.status, 0) + 1
        return found

    def first(self, status, since):
        """The first request sent since a time that got a status; None when there is none yet."""
        return next((outcome for outcome in list(self.outcomes) if outcome.begin >= since and outcome.status == status), None)

    def seconds_max(self, since=0):
        """The longest time that any request sent since a time took."""
        return max((outcome.seconds for outcome in list(self.outcomes) if outcome.begin >= since), default=0)
