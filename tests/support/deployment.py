"""The API as it is deployed: `cognive serve` processes on a primary with replicas, each database host behind a proxy that can break it.

    with Deployment(shared_directory / "deployment") as deployment:
        service = deployment.serve()
        deployment.proxy_of(deployment.primary).stall()

Roles move at a failover; `primary` and `replicas` are what they are now, and bring_back() gives every test the same start.
"""

import concurrent.futures
import contextlib
import json
import re
import secrets
import signal
import subprocess
from pathlib import Path

import psycopg2

from exposition import samples
from installation import BINARY, ROOT, Api, clean_environment, run_cognive, wait_until
from postgres import PostgresCluster
from tcp_proxy import TcpProxy

PROBE_MS = 200  # instead of 1000, so that tests wait less


class Service:
    """One `cognive serve`; its log is `log`, its address `url`."""

    def __init__(self, log, environment, key):
        self.log = Path(log)
        self.environment = environment
        self.key = key
        self.process = None
        self.url = None

    def start(self):
        """Start on a free port and wait until it listens."""
        with open(self.log, "a") as output:
            start = output.tell()
            self.process = subprocess.Popen([BINARY, "serve"], env=clean_environment(**self.environment), stdout=output, stderr=output)

        def listening():
            said = self.log.read_text()[start:]
            assert self.process.poll() is None, f"exited with {self.process.returncode}: {said}"
            return re.search(r'"message":"listening".*?"port":"?(\d+)', said)

        self.url = f"http://127.0.0.1:{wait_until(listening, 'cognive serve listens')[1]}"
        return self

    def stop(self):
        """SIGTERM; its exit status."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def api(self, key=None):
        """A client with the deployment's key, or another."""
        return Api(self.url, key or self.key)

    def health(self):
        """The answer of the replication page."""
        return self.api().get("/api/v1/health/replication")

    def status(self):
        """The status of the replication page, or its HTTP status when that is no success."""
        answer = self.health()
        return answer.json()["status"] if answer.status_code == 200 else answer.status_code

    def replica(self, url):
        """What the page says of the host of a URL, which must not be the primary."""
        port = url.rsplit(":", 1)[1].split("/")[0]
        return next(each for each in self.health().json()["replicas"] if f":{port}/" in each["url"])

    def readiness(self):
        """The answer of the readiness page."""
        return self.api().get("/api/v1/health/readiness")

    def metric(self, name, **labels):
        """The value of a series; None when it is not there."""
        found = samples(self.api().get("/metrics").text)[1]
        return found.get((f"cognive_{name}", tuple(sorted(labels.items()))))

    def log_text(self):
        """All that it has logged."""
        return self.log.read_text()

    def resident_bytes(self):
        """Its memory."""
        return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())[1]) * 1024

    def wait_ok(self, seconds=20):
        """Wait until all hosts are as they should be."""
        try:
            wait_until(lambda: self.status() == "ok", "the replication page ok", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.health().text}") from None

    def wait_writable(self, seconds=20):
        """Wait until an agent can be made; its body."""
        def made():
            answer = self.api().post("/api/v1/agents", json={"name": f"waited-{secrets.token_hex(8)}"})
            return answer.status_code == 201 and answer.json()

        return wait_until(made, "a write succeeds", seconds)


class Deployment:
    """A PostgresCluster with Cognive's tables, a TcpProxy before each of its nodes, and services that know nodes by their proxies only."""

    def __init__(self, directory, replicas=2, synchronous=False, **settings):
        self.directory = Path(directory)
        self.cluster = PostgresCluster(self.directory, replicas, synchronous, **settings)
        self.proxies = {node.name: TcpProxy(node.port) for node in self.cluster.nodes}
        self.primary = self.cluster.primary
        self.master_key = secrets.token_hex(20)
        self.services = []
        self.key = None

    def __enter__(self):
        try:
            self.cluster.__enter__()
            for step in (("migrate", "upgrade", "head"), ("prices", "import", ROOT / "data/prices.json")):
                done = self.cli(*step)
                assert done.returncode == 0, done.stderr
            self.key = self.make_key("organisation")
            self.wait_caught_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop everything."""
        self.stop_services()
        self.cluster.close()
        for proxy in self.proxies.values():
            proxy.close()

    @property
    def nodes(self):
        """All nodes."""
        return self.cluster.nodes

    @property
    def replicas(self):
        """All nodes but the one that is the primary now."""
        return [node for node in self.nodes if node is not self.primary]

    def proxy_of(self, node):
        """The proxy before a node."""
        return self.proxies[node.name]

    def url_of(self, node):
        """A node's URL by its proxy."""
        return node.url.replace(f":{node.port}/", f":{self.proxy_of(node).port}/")

    def label_of(self, node):
        """How the service calls a node."""
        return f"127.0.0.1:{self.proxy_of(node).port}"

    def environment(self, named=None, **extra):
        """The variables of a service or a command; `named` is the node of DATABASE_URL, the primary when it is not given."""
        first = named or self.primary
        others = [self.url_of(node) for node in self.nodes if node is not first]
        return {"DATABASE_URL": self.url_of(first), "DATABASE_READ_URLS": ",".join(others), "COGNIVE_MASTER_KEY": self.master_key,
                "HTTP_PORT": 0, "DATABASE_PROBE_INTERVAL_MS": PROBE_MS} | extra

    def serve(self, named=None, **extra):
        """Start a service."""
        log = self.directory / f"service-{len(self.services)}.log"
        service = Service(log, self.environment(named, **extra), self.key)
        self.services.append(service)
        return service.start()

    def stop_services(self):
        """Stop the services that run; each must end well."""
        statuses = [service.stop() for service in self.services]
        assert set(statuses) <= {0, None}, statuses

    def cli(self, *arguments, named=None, **extra):
        """Run a command of the binary against the deployment."""
        return run_cognive(*arguments, env=clean_environment(**self.environment(named, **extra)))

    def make_key(self, name, *flags):
        """The text of a new API key."""
        made = self.cli("keys", "create", "--name", name, *flags)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def promote(self, node, kill=True):
        """Lose the primary and promote another node, as quickly as that goes; returns the old primary."""
        old = self.primary
        if kill:
            old.kill()
        node.promote()
        self.primary = node
        return old

    def set_synchronous(self, on):
        """Let commits wait for one of the other two nodes on whichever node is the primary, now or later; or let none wait."""
        for node in self.nodes:
            names = [other.name for other in self.nodes if other is not node] if on else []
            if on or node.superuser("SHOW synchronous_standby_names") != [("",)]:
                node.set_synchronous(names)

    def wait_caught_up(self):
        """Wait until every replica shows what the primary has."""
        for replica in self.replicas:
            replica.wait_caught_up()

    def end_faults(self):
        """Let all proxies pass, thaw all nodes and resume all replay."""
        for proxy in self.proxies.values():
            proxy.pass_through()
        for node in self.nodes:
            node.thaw()
            with contextlib.suppress(psycopg2.Error, TimeoutError):
                node.superuser("SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_replay_resume() END", seconds=5)

    def bring_back(self):
        """One primary and replicas of it that have all it has, whatever a test has left."""
        self.end_faults()
        if not self.primary.running:
            self.primary.start()
        with concurrent.futures.ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(self._make_replica, self.replicas))
        self.wait_caught_up()

    def _make_replica(self, node):
        if not self._follows(node):
            node.reseed_from(self.primary)

    def _follows(self, node):
        """Tell whether a node is a replica of the primary, or one again as soon as it is started."""
        if node.upstream is not self.primary:
            return False
        if not node.running:
            node.start()
        try:
            node.wait_streaming(seconds=3)
        except (AssertionError, psycopg2.Error):
            return False
        return True


def served_by(service, deployment):
    """How many reads each node has served so far, by the node's name."""
    return {node.name: service.metric("db_reads_total", host=deployment.label_of(node)) for node in deployment.nodes}


def json_lines(text):
    """The log lines of a service."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
