"""A real S3 store of our own: Ceph's RADOS gateway over one monitor and one OSD, on free ports, with its data in a directory that the test gave.

    with CephServer(shared_directory) as store:
        store.settings()            # for a Cognive that uses it
        store.freeze()              # connections stay, nothing answers
        store.kill_gateway()        # refused until start_gateway()

It takes a quarter of a minute to start, so tests had better share one. Objects are in memory (1 GiB), or with `bluestore_bytes` in a file of so many.
"""

import base64
import hmac
import os
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import urlencode

import requests

from installation import wait_until
from ports import ReservedPort

START_SECONDS = 90
COMMAND_SECONDS = 60
LOG_TAIL_CHARACTERS = 3000
NAME = "s3.localhost"  # a wildcard must have two labels behind it
KMS_KEY = "testkey-1"
KMS_SECRET = "YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo="

ALL = """
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon_v2}/0,v1:127.0.0.1:{mon_v1}/0]
public_network = 127.0.0.0/8
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {directory}/keyring
run_dir = {directory}/run
admin_socket = {socket_directory}/$name.asok
log_file =
log_to_stderr = true
err_to_stderr = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
"""

MONITOR = """
host = localhost
mon_data = {directory}/mon
mon_initial_members = a
"""

OSD = """
host = localhost
osd_data = {directory}/osd
osd_objectstore = {store}
memstore_device_bytes = 1073741824
bluestore_block_size = {bluestore_bytes}
bluestore_block_wal_create = false
osd_memory_target = 939524096
osd_op_num_threads_per_shard = 1
osd_op_num_shards = 2
"""

# Objects expire after seconds in place of days, so that a test can see it. Buckets share lists of those with a lifetime, by
# chance, and a round of a second ends before it comes to the second of a list: whoever waits sets one lifetime only.
GATEWAY = """
rgw_data = {directory}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port} ssl_endpoint=127.0.0.1:{tls_port} ssl_certificate={directory}/certificate.pem ssl_private_key={directory}/key.pem
rgw_thread_pool_size = 32
rgw_dns_name = {name}
rgw_crypt_require_ssl = false
rgw_crypt_s3_kms_backend = testing
rgw_crypt_s3_kms_encryption_keys = {kms_key}={kms_secret}
rgw_lc_debug_interval = {day_seconds}
rgw_lc_max_worker = 1
rgw_enable_usage_log = false
rgw_gc_max_objs = 7
rgw_lc_max_objs = 7
rgw_usage_max_shards = 1
rgw_md_log_max_shards = 1
rgw_data_log_num_shards = 1
rgw_sync_log_trim_interval = 0
"""


class CephServer:
    """Start, freeze and kill its gateway as a test wants; the port stays."""

    def __init__(self, directory, bluestore_bytes=0, day_seconds=600):
        self.directory = Path(directory).resolve() / f"ceph-{secrets.token_hex(4)}"
        for name in ("mon", "osd", "rgw", "run"):
            (self.directory / name).mkdir(parents=True)
        self.access_key, self.secret_key = "COGNIVEKEY", secrets.token_hex(20)
        self._reserved = [ReservedPort() for _ in range(4)]
        self.port, self.tls_port, mon_v2, mon_v1 = (each.number for each in self._reserved)
        self.certificate = self.directory / "certificate.pem"  # of NAME and of buckets in front of it
        self.processes = {}
        self._configuration = self.directory / "ceph.conf"
        values = {"fsid": uuid.uuid4(), "directory": self.directory, "socket_directory": self.directory / "run", "mon_v1": mon_v1, "mon_v2": mon_v2, "port": self.port, "tls_port": self.tls_port, "name": NAME,
                  "store": "bluestore" if bluestore_bytes else "memstore", "bluestore_bytes": bluestore_bytes or 1 << 30, "kms_key": KMS_KEY, "kms_secret": KMS_SECRET,
                  "day_seconds": day_seconds}
        self._fsid, self._monitor_address = values["fsid"], f"[v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]"
        sections = {"global": ALL, "mon.a": MONITOR, "osd.0": OSD, "client.rgw.a": GATEWAY}
        self._configuration.write_text("".join(f"[{name}]{text.format(**values)}" for name, text in sections.items()))

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for name in ("radosgw", "ceph-osd", "ceph-mon"):  # an OSD that is asked to end waits for its monitor
            self._kill(name)
        for each in self._reserved:
            each.release()

    def start(self):
        """Make the cluster and start all of it."""
        keyring, monitor_map = self.directory / "keyring", self.directory / "monitors"
        self._run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
                  "-addext", f"subjectAltName=DNS:{NAME},DNS:*.{NAME},IP:127.0.0.1", "-keyout", self.directory / "key.pem", "-out", self.certificate)
        for name, capabilities in (("mon.", ["mon", "allow *"]), ("client.admin", ["mon", "allow *", "osd", "allow *", "mgr", "allow *"]),
                                   ("client.rgw.a", ["mon", "allow rw", "osd", "allow rwx"]), ("osd.0", ["mon", "allow profile osd", "osd", "allow *"])):
            pairs = [word for pair in zip(capabilities[::2], capabilities[1::2], strict=True) for word in ("--cap", *pair)]
            self._run("ceph-authtool", *([] if keyring.exists() else ["-C"]), keyring, "-g", "-n", name, *pairs)
        self._run("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", self._monitor_address, monitor_map)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monitor_map, "--keyring", keyring)
        self._spawn("ceph-mon", "-i", "a")
        wait_until(lambda: self._try("ceph", "--connect-timeout", 5, "mon", "stat"), "the monitor answers", START_SECONDS)
        osd = uuid.uuid4()
        self._run("ceph", "osd", "new", osd)
        self._run("ceph", "auth", "import", "-i", keyring)
        self._run("ceph", "osd", "crush", "add-bucket", "default", "root")
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._spawn("ceph-osd", "-i", "0")
        wait_until(lambda: '"num_up_osds":1' in self._try("ceph", "osd", "stat", "-f", "json"), "the OSD is up", START_SECONDS)
        self.start_gateway()
        self._run("radosgw-admin", "user", "create", "--uid=cognive", "--display-name=cognive", f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")
        return self

    # --- the gateway --------------------------------------------------------------------------------------------------

    def start_gateway(self):
        """On the same port, with what was stored."""
        self._spawn("radosgw", "-n", "client.rgw.a")
        wait_until(self._answers, "the gateway answers", START_SECONDS)

    def kill_gateway(self):
        """SIGKILL: connecting is refused."""
        self._kill("radosgw")

    def freeze(self):
        """It keeps its connections and answers nothing; the system still accepts new ones."""
        self.processes["radosgw"].send_signal(signal.SIGSTOP)

    def thaw(self):
        """The end of that."""
        self.processes["radosgw"].send_signal(signal.SIGCONT)

    def settings(self, port=None):
        """Variables of a Cognive that keeps its objects here; `port` of a proxy before it."""
        return {"STORAGE_ENDPOINT": f"127.0.0.1:{port or self.port}", "STORAGE_ACCESS_KEY": self.access_key, "STORAGE_SECRET_KEY": self.secret_key}

    def admin(self, *arguments):
        """What radosgw-admin prints."""
        return self._run("radosgw-admin", *arguments)

    def request(self, method, path, data=None):
        """What it answers to a request that Cognive does not make, signed as S3 did at first; `path` has a query."""
        expires = int(time.time()) + 600
        signature = hmac.digest(self.secret_key.encode(), f"{method}\n\n\n{expires}\n{path}".encode(), "sha1")
        query = urlencode({"AWSAccessKeyId": self.access_key, "Expires": expires, "Signature": base64.b64encode(signature)})
        answer = requests.request(method, f"http://127.0.0.1:{self.port}{path}&{query}", data=data, timeout=COMMAND_SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.text

    def _answers(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    # --- processes ----------------------------------------------------------------------------------------------------

    def _environment(self):
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.directory), "CEPH_CONF": str(self._configuration)}

    def _spawn(self, program, *arguments):
        with open(self.directory / f"{program}.log", "a") as output:
            self.processes[program] = subprocess.Popen([program, "-f", *map(str, arguments)], env=self._environment(), cwd=self.directory, stdin=subprocess.DEVNULL,
                                                       stdout=output, stderr=output)

    def _kill(self, program):
        process = self.processes.pop(program, None)
        if process is not None:
            process.kill()
            process.wait(timeout=30)

    def _run(self, program, *arguments):
        result = subprocess.run([program, *map(str, arguments)], env=self._environment(), cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                timeout=COMMAND_SECONDS, check=False)
        assert result.returncode == 0, f"{program} {arguments}: {result.stdout}{result.stderr}{self._tails()}"
        return result.stdout

    def _try(self, program, *arguments):
        try:
            return self._run(program, *arguments)
        except (AssertionError, subprocess.TimeoutExpired):
            return ""

    def _tails(self):
        return "".join(f"\n{log.name}: {log.read_text(errors='replace')[-LOG_TAIL_CHARACTERS:]}" for log in self.directory.glob("*.log") if os.path.getsize(log))
