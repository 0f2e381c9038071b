"""Runs the real binary for a test: `cognive up` in a data directory of its own, on a free port, and a client for its API."""

import os
import re
import signal
import subprocess
import time
import uuid
from pathlib import Path

import psycopg2
import requests

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("COGNIVE_BINARY", ROOT / "build/release/cognive"))
START_SECONDS = 60


def clean_environment(**extra):
    """The environment of a child: ours without anything that Cognive would read."""
    foreign = re.compile(r"^(COGNIVE_|DATABASE_|HTTP_|REDIS_|RABBITMQ_|STORAGE_|CELERY_|APP_|LOG_LEVEL|READINESS_|RETENTION_|RUN_SILENCE_|WORKER_|SMTP_|ALERTS_)")
    base = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    return base | {name: str(value) for name, value in extra.items()}


def run_cognive(*arguments, env=None, timeout=120, input=None):
    """Run a command of the binary to its end; its result has stdout, stderr and returncode."""
    return subprocess.run([BINARY, *map(str, arguments)], env=env or clean_environment(), capture_output=True, text=True,
                          timeout=timeout, input=input)


def wait_until(condition, what, seconds=START_SECONDS):
    """Poll a condition until it returns something true; fail with `what` otherwise."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not in {seconds} s: {what}")


def processes_in(directory):
    """The processes whose command line names a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in command:
            found.append((int(entry.name), command))
    return found


class Installation:
    """One `cognive up`. Start and stop it as often as a test wants; the data directory stays."""

    def __init__(self, directory, **environment):
        self.directory = Path(directory)
        self.environment = environment
        self.process = None
        self.output = ""

    def start(self, *flags):
        """Start and wait until the process says that it is ready."""
        env = clean_environment(**self.environment)
        self.log = open(self.directory.parent / f"{self.directory.name}.output", "w+")
        self.process = subprocess.Popen([BINARY, "up", "--data", self.directory, "--port", "0", *flags], env=env,
                                        stdout=self.log, stderr=subprocess.STDOUT)

        def ready():
            self.output = Path(self.log.name).read_text()
            assert self.process.poll() is None, f"exited with {self.process.returncode}: {self.output}"
            return "Cognive is ready" in self.output and "stop " in self.output

        wait_until(ready, "cognive up ready")
        self.variables = dict(re.findall(r"^export (\w+)='(.*)'$", (self.directory / "env").read_text(), re.M))
        self.url = self.variables["COGNIVE_URL"]
        self.key = self.variables["COGNIVE_API_KEY"]
        return self

    def stop(self, kind=signal.SIGTERM):
        """Stop the process with a signal; returns its exit status."""
        if self.process is None:
            return None
        self.process.send_signal(kind)
        status = self.process.wait(timeout=60)
        self.process = None
        self.log.close()
        return status

    def kill(self):
        """SIGKILL, and wait until its PostgreSQL is gone too."""
        self.stop(signal.SIGKILL)
        wait_until(lambda: not processes_in(self.directory), "no process left after SIGKILL")

    def api(self, key=None, bearer=None):
        """A client with the first key, or another, or with the access token of a person."""
        return Api(self.url, key or self.key) if bearer is None else Api(self.url, None, bearer)

    def person(self, *roles, password="correct horse staple"):
        """A client of a new user who has signed in, with roles such as `viewer` or `developer@team`; it has `email`, `tokens` and `id`."""
        for _, _, team in (role.partition("@") for role in roles):
            if team:
                self.api().post("/api/v1/teams", json={"name": team})
        email = f"{uuid7()}@example.com"
        grants = [{"role": role, "team": team} if team else {"role": role} for role, _, team in (one.partition("@") for one in roles)]
        made = self.api().post("/api/v1/users", json={"email": email, "password": password, "roles": grants})
        assert made.status_code == 201, made.text
        tokens = self.api().post("/api/v1/auth/login", json={"email": email, "password": password})
        assert tokens.status_code == 200, tokens.text
        client = self.api(bearer=tokens.json()["access_token"])
        client.email, client.password, client.tokens, client.id = email, password, tokens.json(), made.json()["id"]
        return client

    def cli(self, *arguments, **kwargs):
        """Run a command of the binary against this installation."""
        env = clean_environment(COGNIVE_DATA=self.directory)
        return run_cognive(*arguments, env=env, **kwargs)

    def sql(self, statement, *parameters):
        """Rows of a statement, asked from PostgreSQL directly."""
        with psycopg2.connect(self.variables["DATABASE_URL"]) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def team_key(self, team, *permissions):
        """The text of a new key of a team; the team is made if it is missing."""
        self.api().post("/api/v1/teams", json={"name": team})
        flags = [flag for permission in permissions for flag in ("--permission", permission)]
        made = self.cli("keys", "create", "--name", f"{team} key", *(["--team", team] if team else []), *flags)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()


class Api:
    """The REST API with one key or access token. Methods return the answer of `requests` and never raise for a status."""

    def __init__(self, url, key, bearer=None):
        self.url = url
        self.session = requests.Session()
        if key:
            self.session.headers["X-API-Key"] = key
        if bearer:
            self.session.headers["Authorization"] = f"Bearer {bearer}"

    def request(self, method, path, **kwargs):
        """Any request."""
        kwargs.setdefault("timeout", 30)
        if path.partition("?")[0] == "/api/v1/stream":
            kwargs.setdefault("stream", True)  # it has no end
        return self.session.request(method, self.url + path, **kwargs)

    def get(self, path, **kwargs):
        """GET."""
        return self.request("GET", path, **kwargs)

    def post(self, path, **kwargs):
        """POST."""
        return self.request("POST", path, **kwargs)

    def put(self, path, **kwargs):
        """PUT."""
        return self.request("PUT", path, **kwargs)

    def patch(self, path, **kwargs):
        """PATCH."""
        return self.request("PATCH", path, **kwargs)

    def delete(self, path, **kwargs):
        """DELETE."""
        return self.request("DELETE", path, **kwargs)

    def agent(self, name=None, **attributes):
        """A new agent; its body."""
        answer = self.post("/api/v1/agents", json={"name": name or f"agent-{uuid.uuid4()}", **attributes})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def run(self, agent_id, **attributes):
        """A new run of an agent; its body."""
        answer = self.post("/api/v1/runs/start", json={"agent_id": agent_id, **attributes})
        assert answer.status_code == 201, answer.text
        return answer.json()


def uuid7(milliseconds=None):
    """A version-7 id, as SDKs make them."""
    milliseconds = int(time.time() * 1000) if milliseconds is None else milliseconds
    raw = bytearray(milliseconds.to_bytes(6, "big") + os.urandom(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def llm_call(run_id, **attributes):
    """An LLM call event with sensible content."""
    return {"type": "llm_call", "id": uuid7(), "run_id": run_id, "provider": "openai", "model": "gpt-4o",
            "timestamp": "2026-11-23T06:02:00.123456Z", "usage": {"input_tokens": 1000, "output_tokens": 100}} | attributes
