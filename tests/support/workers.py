"""`cognive worker` processes, and the tasks that they find.

    with Worker(directory, DATABASE_URL=url) as worker:
        worker.wait_leader()
"""

import json
import re
import secrets
import signal
import subprocess
from pathlib import Path

from exposition import samples
from installation import BINARY, Api, clean_environment, wait_until


class Worker:
    """One `cognive worker`; its log is `log`."""

    def __init__(self, directory, *flags, **environment):
        self.log = Path(directory) / f"worker-{secrets.token_hex(4)}.log"
        env = clean_environment(**({} if "COGNIVE_MASTER_KEY_FILE" in environment else {"COGNIVE_MASTER_KEY": "0" * 32}) | environment)
        with open(self.log, "w") as output:
            self.process = subprocess.Popen([BINARY, "worker", "--port", "0", *map(str, flags)], env=env, cwd=directory, stdout=output, stderr=output)

    def __enter__(self):
        self.url = f"http://127.0.0.1:{wait_until(self.port, 'cognive worker listens', 30)}"
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            assert self.stop() == 0, self.said()

    def said(self):
        """All that it has logged."""
        return self.log.read_text()

    def port(self):
        """Where it answers; None as long as it does not."""
        assert self.process.poll() is None, self.said()
        found = re.search(r'"message":"listening".*?"port":"?(\d+)', self.said())
        return found and int(found[1])

    def lines(self, message=None):
        """The lines of its log, or those with a message."""
        found = [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]
        return [line for line in found if message in (None, line["message"])]

    def metric(self, name, **labels):
        """The value of a series; None when it is not there."""
        return samples(Api(self.url, None).get("/metrics").text)[1].get((f"cognive_{name}", tuple(sorted(labels.items()))))

    def is_leader(self):
        """Whether it leads, as it says itself."""
        return self.metric("task_leader") == 1

    def wait_leader(self, seconds=20):
        """Wait until it leads."""
        wait_until(self.is_leader, "the worker leads", seconds)

    def stop(self):
        """SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def freeze(self, on=True):
        """SIGSTOP, or SIGCONT."""
        self.process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)
