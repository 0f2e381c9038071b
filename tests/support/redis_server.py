"""A real redis-server of our own, on a free port, with its data in a directory that the test gave."""

import secrets
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from installation import wait_until
from ports import ReservedPort


class RedisServer:
    """Start, freeze and kill it as a test wants; the port stays. `password` may be empty; `certificate` is a pair of files."""

    def __init__(self, directory, password="", certificate=None, append_only=False):
        self.directory = Path(directory) / f"redis-{secrets.token_hex(4)}"
        self.directory.mkdir()
        self.password = password
        self.certificate = certificate
        self.append_only = append_only
        self.reserved = ReservedPort()
        self.port = self.reserved.number
        self.socket = self.directory / "redis.sock"
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        self.reserved.release()

    def start(self):
        """Start and wait until it answers."""
        plain = 0 if self.certificate else self.port
        arguments = ["--port", plain, "--bind", "127.0.0.1", "--dir", self.directory, "--unixsocket", self.socket, "--save", "",
                     "--appendonly", "yes" if self.append_only else "no", "--loglevel", "warning"]
        if self.password:
            arguments += ["--requirepass", self.password]
        if self.certificate:
            arguments += ["--tls-port", self.port, "--tls-cert-file", self.certificate[0], "--tls-key-file", self.certificate[1], "--tls-auth-clients", "no",
                          "--tls-ca-cert-file", self.certificate[0]]
        self.process = subprocess.Popen(["redis-server", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.socket.exists() and self.command("PING").strip() == "PONG", "redis-server answers", 10)
        return self

    def stop(self):
        """SIGTERM, also of a frozen one."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(timeout=10)

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait(timeout=10)
        self.socket.unlink(missing_ok=True)

    def freeze(self):
        """It keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """The end of that."""
        self.process.send_signal(signal.SIGCONT)

    def command(self, *words):
        """What it answers to a command, as redis-cli prints it."""
        password = ["-a", self.password, "--no-auth-warning"] if self.password else []
        return subprocess.run(["redis-cli", "-s", str(self.socket), *password, *map(str, words)], capture_output=True, text=True, timeout=10, check=False).stdout

    def url(self, port=None, database=0, password=None):
        """Its URL; `port` of a proxy before it, `password` another one."""
        password = password or self.password
        credentials = f":{quote(password)}@" if password else ""
        return f"{'rediss' if self.certificate else 'redis'}://{credentials}127.0.0.1:{port or self.port}/{database}"

