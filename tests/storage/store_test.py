"""The port of object storage: its adapter for S3 passes the suite of all adapters against Ceph, also over a connection that breaks all the time; a server does without it."""

import json
import os
import random
import re
import subprocess
import threading
import time
import urllib.request

import pytest

from ceph_server import KMS_KEY, NAME
from deployment import Service
from installation import BINARY, clean_environment, wait_until
from problems import check_problem
from tcp_proxy import TcpProxy

LONG = os.environ.get("COGNIVE_LONG") == "1"
SUITE = os.path.join(os.path.dirname(BINARY), "src/objects/objects_test")
BUCKETS = ["audit-logs-archive", "execution-replay-data", "report-exports", "agent-artifacts"]
LIFETIMES = {"audit-logs-archive": 90, "execution-replay-data": 30, "report-exports": 365, "agent-artifacts": 180}


def run_suite(ceph, port, only="*s3*", **how):
    """The unit tests of the adapters, against a store behind a port."""
    environment = os.environ | {"COGNIVE_TEST_S3_ENDPOINT": f"127.0.0.1:{port}", "COGNIVE_TEST_S3_KEY": ceph.access_key, "COGNIVE_TEST_S3_SECRET": ceph.secret_key} | how
    result = subprocess.run([SUITE, f"--gtest_filter={only}"], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0 and "PASSED" in result.stdout and "SKIPPED" not in result.stdout, result.stdout[-6000:]


def test_the_adapter_passes_the_suite(ceph):
    run_suite(ceph, ceph.port)


def test_the_adapter_passes_the_suite_over_tls_with_buckets_as_hosts_and_keys_of_the_store(ceph):
    before = set(json.loads(ceph.admin("bucket", "list")))
    run_suite(ceph, ceph.port, COGNIVE_TEST_S3_ENDPOINT=f"https://{NAME}:{ceph.tls_port}", COGNIVE_TEST_S3_ADDRESSING="host", COGNIVE_TEST_S3_CA_FILE=str(ceph.certificate),
              COGNIVE_TEST_S3_ENCRYPTION="aws:kms", COGNIVE_TEST_S3_KMS_KEY=KMS_KEY)
    stored = [(bucket, one["name"]) for bucket in set(json.loads(ceph.admin("bucket", "list"))) - before for one in json.loads(ceph.admin("bucket", "list", f"--bucket={bucket}"))
              if "_multipart_" not in one["name"]]
    assert len(stored) > 10
    for bucket, name in stored[:10]:
        attributes = json.loads(ceph.admin("object", "stat", f"--bucket={bucket}", f"--object={name}"), strict=False)["attrs"]
        assert attributes["user.rgw.crypt.mode"].startswith("SSE-KMS") and attributes["user.rgw.crypt.keyid"].startswith(KMS_KEY), (name, attributes)


def test_a_store_is_trusted_by_its_certificate_only(ceph):
    settings = ceph.settings() | {"STORAGE_ENDPOINT": f"{NAME}:{ceph.tls_port}", "STORAGE_BUCKET_PREFIX": "secure-"}
    for how in ({"STORAGE_SECURE": "true"}, {"STORAGE_ENDPOINT": f"https://{NAME}:{ceph.tls_port}"}):
        for addressing in ("path", "host"):
            status, printed, said = command("init", STORAGE_CA_FILE=ceph.certificate, STORAGE_ADDRESSING=addressing, **settings | how)
            assert status == 0 and f"https://{NAME}:{ceph.tls_port}" in printed, said
    status, _, said = command("check", **settings, STORAGE_SECURE="true")
    assert status == 1 and "STORAGE_CA_FILE names" in said, said
    status, _, said = command("check", **settings, STORAGE_CA_FILE=ceph.certificate)
    assert status == 1, "without TLS it does not speak"


class Faults(threading.Thread):
    """Breaks what goes over a proxy, in every way, again and again."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.proxy, self.ended, self.count = proxy, threading.Event(), 0
        self.chance = random.Random(7)

    def run(self):
        """Until it is told to end."""
        faults = [lambda: self.proxy.close_all(), lambda: self.proxy.close_all(reset=True), lambda: self.proxy.truncate_after(self.chance.randrange(1, 3000)),
                  self.proxy.stall, self.proxy.stall_responses, self.proxy.refuse]
        while not self.ended.wait(self.chance.uniform(0.05, 0.4)):
            self.chance.choice(faults)()
            self.count += 1
            time.sleep(self.chance.uniform(0, 0.3))
            self.proxy.pass_through()


@pytest.mark.skipif(not LONG, reason="takes its time on a busy machine: ./test --long")
def test_the_adapter_passes_the_suite_over_a_connection_that_breaks_all_the_time(ceph):
    with TcpProxy(ceph.port) as proxy:
        faults = Faults(proxy)
        faults.start()
        try:
            wait_until(lambda: run_suite(ceph, proxy.port) or faults.count > 40, "it has met many faults", 200)
        finally:
            faults.ended.set()
            faults.join(10)


@pytest.fixture
def server(installation, tmp_path):
    """Starts servers with a storage, on the database of the shared installation."""
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    started = []

    def start(**settings):
        started.append(Service(tmp_path / f"server-{len(started)}.log", variables | {"HTTP_PORT": 0} | settings, installation.key).start())
        return started[-1]

    yield start
    for one in started:
        assert one.stop() == 0


def command(*words, **settings):
    """`cognive storage`, and what it printed."""
    result = subprocess.run([BINARY, "storage", *words], env=clean_environment(**settings), capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, result.stdout, result.stderr


def test_buckets_are_made_at_the_start_with_their_lifetimes(ceph, server):
    settings = ceph.settings() | {"STORAGE_BUCKET_PREFIX": "start-"}
    service = server(**settings)
    wait_until(lambda: service.api().get("/api/v1/health/storage").json()["healthy"], "the buckets are there", 30)
    state = service.api().get("/api/v1/health/storage").json()
    assert state["status"] == "healthy" and state["accessible"] and state["endpoint"] == f"http://127.0.0.1:{ceph.port}"
    assert state["expected_buckets"] == ["start-" + name for name in BUCKETS] and state["missing_buckets"] == []
    assert state["bucket_count"] == len(state["buckets"]) and {"start-" + name for name in BUCKETS} <= {one["name"] for one in state["buckets"]}
    status, printed, _ = command("check", "--json", **settings)
    found = json.loads(printed)
    assert status == 0 and found["healthy"] and {one["name"]: one["lifetime_days"] for one in found["buckets"]} == {"start-" + name: days for name, days in LIFETIMES.items()}
    assert ceph.secret_key not in service.log_text() and ceph.access_key not in service.log_text()


def test_the_commands_say_what_is_wrong(ceph):
    settings = ceph.settings() | {"STORAGE_BUCKET_PREFIX": "command-"}
    status, printed, said = command("check", **settings)
    assert status == 1 and "command-report-exports" in printed and "`cognive storage init` makes it" in said
    status, printed, said = command("init", **settings)
    assert status == 0 and "365 days" in printed and not said
    assert command("init", **settings)[0] == 0, "it can be repeated"
    assert command("check", **settings)[0] == 0
    status, _, said = command("check", **settings | {"STORAGE_SECRET_KEY": "wrong"})
    assert status == 1 and "STORAGE_SECRET_KEY" in said and "SignatureDoesNotMatch" in said and "wrong" not in said
    status, _, said = command("check", **settings | {"STORAGE_ACCESS_KEY": "nobody"})
    assert status == 1 and "InvalidAccessKeyId" in said
    status, _, said = command("check", **settings | {"STORAGE_ENDPOINT": "127.0.0.1:1"})
    assert status == 1 and "nothing accepts connections there" in said
    status, _, said = command("check", **settings | {"STORAGE_ENDPOINT": "http://key:secret@127.0.0.1:9000"})
    assert status == 1 and "STORAGE_ENDPOINT" in said and "secret" not in said.replace("STORAGE_SECRET_KEY", "")
    status, _, said = command("check", STORAGE_ENDPOINT="127.0.0.1:9000")
    assert status == 1 and "STORAGE_ACCESS_KEY" in said and "STORAGE_SECRET_KEY" in said
    status, _, said = command("check")
    assert status == 1 and "STORAGE_ENDPOINT" in said


def test_a_store_that_is_away_is_told_within_a_second_and_disturbs_nothing_else(ceph, server):
    with TcpProxy(ceph.port) as proxy:
        service = server(**ceph.settings(proxy.port), READINESS_REQUIRES="database,storage")
        api = service.api()
        wait_until(lambda: api.get("/api/v1/health/readiness").status_code == 200, "it is ready", 30)
        for break_it in (proxy.refuse, proxy.stall):
            break_it()
            begun = time.monotonic()
            body = check_problem(api.get("/api/v1/health/readiness"), 503)
            assert time.monotonic() - begun < 1.5 and body["detail"].startswith("Not ready (storage unavailable): ")
            body = check_problem(api.get("/api/v1/health/storage"), 503)
            assert body["accessible"] is False and body["healthy"] is False and len(body["missing_buckets"]) == 4
            agent = api.agent()["id"]
            begun = time.monotonic()
            api.run(agent)
            assert time.monotonic() - begun < 1
            proxy.pass_through()
            wait_until(lambda: api.get("/api/v1/health/readiness").status_code == 200, "it is ready again", 30)


def test_the_embedded_default_keeps_objects_in_its_directory(installation):
    state = installation.api().get("/api/v1/health/storage").json()
    assert state["endpoint"] == f"file://{installation.directory}/objects" and state["healthy"] and state["bucket_count"] == 4
    ready = installation.api().get("/api/v1/health/readiness").json()
    assert ready["dependencies"]["storage_endpoint"] == state["endpoint"]
    assert installation.cli("storage", "check").returncode == 0


def test_objects_expire_by_the_store_itself(shared_directory):
    """Days are seconds here: what was written under our lifetime goes when that has passed, and so does an upload that nobody ends."""
    from ceph_server import CephServer  # noqa: PLC0415 another one, in a hurry
    with CephServer(shared_directory, day_seconds=1) as store:
        written = time.monotonic()
        run_suite(store, store.port, "*AnObjectIsReadAs*s3")
        (bucket,) = json.loads(store.admin("bucket", "list"))

        def kept():
            return [entry["name"] for entry in json.loads(store.admin("bucket", "list", f"--bucket={bucket}"))]

        assert kept() == ["a/b.bin"]
        begun = time.monotonic()
        upload = re.search("<UploadId>(.+)</UploadId>", store.request("POST", f"/{bucket}/forgotten?uploads"))[1]
        store.request("PUT", f"/{bucket}/forgotten?partNumber=1&uploadId={upload}", b"some")
        wait_until(lambda: not any("forgotten" in name for name in kept()), "the upload has gone", 90)
        assert time.monotonic() - begun > 7 - 1, "the store counts from the full second"
        wait_until(lambda: not kept(), "all have expired", 90)
        assert time.monotonic() - written > 30 - 1
        with urllib.request.urlopen(f"http://127.0.0.1:{store.port}/", timeout=5) as answer:
            assert answer.status == 200
