"""A real PostgreSQL cluster for chaos tests: a primary with streaming replicas that can be killed, frozen, delayed, promoted and rebuilt.

    with PostgresCluster(shared_directory / "cluster", replicas=2) as cluster:
        one, two = cluster.replicas
        cluster.primary.kill()
        one.promote()
        two.follow(one)
        cluster.primary.reseed_from(one)

Nothing outlives the tests: the servers get SIGQUIT when our process ends, however it ends, and frozen ones SIGKILL.
"""

import concurrent.futures
import contextlib
import getpass
import os
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psycopg2

from installation import wait_until
from ports import ReservedPort

SECONDS = 30
SYSTEM_USER = "postgres" if os.geteuid() == 0 else getpass.getuser()
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "recovery_init_sync_method": "syncfs",  # a restart after SIGKILL takes 0.4 s instead of 4 s
    "dynamic_shared_memory_type": "mmap",  # in the data directory, so that SIGKILL leaves nothing in /dev/shm
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "hot_standby_feedback": "on",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "100ms",  # how soon a replica tries again
    "log_line_prefix": "%m [%p] %a ",
}

# The death signal of a process follows the thread that started it, so one thread that lives as long as we do starts all servers.
_LAUNCHER = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="postgres-launcher")


def binaries():
    """The directory of PostgreSQL's programs: COGNIVE_POSTGRES_BIN, or the newest that Debian has."""
    if os.environ.get("COGNIVE_POSTGRES_BIN"):
        return Path(os.environ["COGNIVE_POSTGRES_BIN"])
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_basebackup"), key=lambda program: int(program.parts[-3]))
    assert found, "PostgreSQL is not installed (tools/packages.sh build test)"
    return found[-1].parent


def query(url, statement, parameters=(), seconds=SECONDS):
    """Rows of a statement on a connection of its own; TimeoutError when connecting and answering take longer, whatever the server does."""
    deadline = time.monotonic() + seconds
    connection = psycopg2.connect(url, async_=True)

    def settle():
        while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
            reads = [connection] if state == psycopg2.extensions.POLL_READ else []
            writes = [connection] if state == psycopg2.extensions.POLL_WRITE else []
            if not any(select.select(reads, writes, [], max(0, deadline - time.monotonic()))):
                raise TimeoutError(f"no answer in {seconds} s: {statement}")

    with contextlib.closing(connection):
        settle()
        cursor = connection.cursor()
        cursor.execute(statement, parameters or None)
        settle()
        return cursor.fetchall() if cursor.description else []


class Node:
    """One server. Its name says how it began: a promoted replica_1 keeps its name, and so does the first primary."""

    def __init__(self, cluster, name):
        self.name = name
        self.data = cluster.directory / name
        self.log = cluster.directory / f"{name}.log"
        self.process = None
        self.upstream = None
        self._cluster = cluster
        self._reserved = ReservedPort()
        self._guard = None
        self._held = None
        self._hold_lock = threading.Lock()
        self.port = self._reserved.number
        self.url = f"postgresql://cognive:{cluster.password}@127.0.0.1:{self.port}/cognive"

    # --- asking -------------------------------------------------------------------------------------------------------

    def superuser(self, statement, database="postgres", parameters=(), seconds=SECONDS):
        """Rows of a statement of the superuser, over the unix socket."""
        dsn = f"host={self._cluster.sockets} port={self.port} user=postgres dbname={database} application_name=test"
        return query(dsn, statement, parameters, seconds)

    def sql(self, statement, parameters=(), seconds=SECONDS):
        """Rows of a statement of the role cognive, over TCP."""
        return query(self.url, statement, parameters, seconds)

    def is_in_recovery(self):
        """Tell whether it is a replica."""
        return self.superuser("SELECT pg_is_in_recovery()")[0][0]

    def wal_lsn(self):
        """Where a primary writes, as a number of bytes."""
        return self._lsn("pg_current_wal_lsn()")

    def received_lsn(self):
        """How far a replica has the primary's log on its disk; promote the one that has most."""
        return self._lsn("pg_last_wal_receive_lsn()")

    def replay_lsn(self):
        """How far a replica shows the primary's log."""
        return self._lsn("pg_last_wal_replay_lsn()")

    def _lsn(self, function):
        return int(self.superuser(f"SELECT coalesce({function} - '0/0'::pg_lsn, 0)")[0][0])

    @property
    def running(self):
        """Tell whether the server's first process lives, be it frozen or not ready."""
        return self.process is not None and self.process.poll() is None

    def accepts(self):
        """Tell whether it answers a query within a second."""
        try:
            return self.superuser("SELECT 1", seconds=1) == [(1,)]
        except (psycopg2.Error, TimeoutError):
            return False

    # --- starting and stopping ----------------------------------------------------------------------------------------

    def start(self, wait=True):
        """Start; by default wait until it answers queries."""
        assert not self.running, f"{self.name} runs"
        self._end_hold()
        command = self._cluster.command("postgres", "-D", self.data, "-c", f"port={self.port}", "-c", f"cluster_name={self.name}", death_signal="QUIT")
        with open(self.log, "a") as log:
            self.process = _LAUNCHER.submit(subprocess.Popen, command, cwd=self.data, env=self._cluster.environment, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT, start_new_session=True).result(SECONDS)
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds=SECONDS):
        """Wait until it answers queries."""
        def ready():
            assert self.running, f"{self.name} exited with {self.process.returncode}: {self.log_tail()}"
            return self.accepts()

        wait_until(ready, f"{self.name} ready", seconds)

    def stop(self, mode="fast", seconds=SECONDS):
        """Stop as pg_ctl does: smart waits for clients, fast ends them, immediate leaves recovery to the next start."""
        if not self.running:
            return
        self.thaw()
        self._end_hold()
        self.process.send_signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
        self.process.wait(seconds)

    def kill(self):
        """SIGKILL the server's first process and every other, as a machine that dies; nothing lingers."""
        self._signal(signal.SIGKILL)

        def gone():
            self._signal(signal.SIGKILL)  # also whatever was started meanwhile
            return not self.running and not self.processes()

        wait_until(gone, f"{self.name} killed")
        self._end_guard()
        self._end_hold()
        with contextlib.suppress(OSError, IndexError):
            # The key that keeps a second server off the directory is a segment of shared memory; a machine's death clears it too.
            segment = (self.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], stderr=subprocess.DEVNULL, timeout=SECONDS)

    def freeze(self):
        """SIGSTOP all processes: the ports take connections, and nothing ever answers."""
        self._signal(signal.SIGSTOP)

        def frozen():
            moving = [pid for pid in self.processes() if _state(pid) not in "TtZ"]
            self._signal(signal.SIGSTOP, moving)
            return not moving

        wait_until(frozen, f"{self.name} frozen")
        if self._guard is None:
            # Stopped processes would outlive us: SIGQUIT does not reach them, and the death signal only the first.
            pids = map(str, self.processes())
            self._guard = subprocess.Popen(["sh", "-c", 'read -r thawed || kill -KILL "$@"', "guard", *pids], stdin=subprocess.PIPE, start_new_session=True)

    def thaw(self):
        """SIGCONT all processes."""
        if self._guard is not None:
            self._signal(signal.SIGCONT)
            self._end_guard()

    def _end_guard(self):
        if self._guard is not None:
            self._guard.communicate(b"thawed\n", timeout=SECONDS)
            self._guard = None

    def hold_starting(self, seconds):
        """Start a stopped node so that it says "the database system is starting up" (57P03) for a while; it is ready a moment later.

        The process that recovers waits for a file which we give it only at the end. Returns when clients are told so.
        """
        assert not self.running, f"{self.name} runs"
        self._end_hold()
        path = self.data / "pg_logical/replorigin_checkpoint"
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path, 0o600)
        shutil.chown(path, SYSTEM_USER)
        timer = threading.Timer(seconds, self._end_hold)
        timer.daemon = True
        self.start(wait=False)
        self._held = (timer, path, content)
        wait_until(lambda: self._says("starting up"), f"{self.name} says that it starts")
        timer.start()

    def release_starting(self):
        """End hold_starting early, and wait until it is ready."""
        self._end_hold()
        self.wait_ready()

    def _end_hold(self):
        with self._hold_lock:
            if self._held is None:
                return
            timer, path, content = self._held
            timer.cancel()

            def delivered():
                with contextlib.suppress(OSError):  # nobody reads yet, or not any more
                    with os.fdopen(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb") as file:
                        file.write(content)
                    return True
                return not self.running

            wait_until(delivered, f"{self.name} goes on starting")
            replacement = path.with_suffix(".given")
            replacement.write_bytes(content)
            replacement.chmod(0o600)
            shutil.chown(replacement, SYSTEM_USER)
            replacement.rename(path)
            self._held = None

    def _says(self, words):
        try:
            self.superuser("SELECT 1", seconds=1)
        except psycopg2.OperationalError as error:
            return words in str(error)
        except TimeoutError:
            pass
        return False

    def processes(self):
        """The ids of all its processes, the first one first: those that work in its data directory."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "cwd") == str(self.data):
                    found.append(int(entry.name))
        return sorted(found, key=lambda pid: (self.process is None or pid != self.process.pid, pid))

    def _signal(self, kind, pids=None):
        for pid in self.processes() if pids is None else pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kind)

    def log_tail(self):
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    # --- replication --------------------------------------------------------------------------------------------------

    def set_synchronous(self, names):
        """Make commits wait for any one of these standbys, or for none; in force when this returns."""
        value = f"ANY 1 ({', '.join(names)})" if names else ""
        self.superuser(f"ALTER SYSTEM SET synchronous_standby_names = '{value}'")
        self._reload("synchronous_standby_names", value)
        self.superuser("CHECKPOINT")  # the process that does these is the one that tells sessions to wait

    def _reload(self, name, value):
        self.superuser("SELECT pg_reload_conf()")
        wait_until(lambda: self.superuser(f"SHOW {name}") == [(value,)], f"{self.name} has {name}")

    def pause_replay(self):
        """Keep a replica at what it shows now, while it goes on receiving."""
        self.superuser("SELECT pg_wal_replay_pause()")
        wait_until(lambda: self.superuser("SELECT pg_get_wal_replay_pause_state()") == [("paused",)], f"{self.name} paused")

    def resume_replay(self):
        """End pause_replay."""
        self.superuser("SELECT pg_wal_replay_resume()")

    def promote(self):
        """Make a replica a primary, which takes writes when this returns. Its own replicas need follow or reseed_from."""
        self._cluster.run("pg_ctl", "promote", "-D", self.data, "-w", "-t", SECONDS)
        self.upstream = None

    def follow(self, other):
        """Make a running replica follow another primary; it must not have more of the log than that one."""
        other.make_slot(self.name)
        self.superuser(f"ALTER SYSTEM SET primary_conninfo = '{self._conninfo(other)}'")
        self.superuser(f"ALTER SYSTEM SET primary_slot_name = '{self.name}'")
        self.upstream = other
        self._reload("primary_conninfo", self._conninfo(other))
        self.wait_streaming()

    def reseed_from(self, other):
        """Throw the data away and start as a replica with a copy of another node's."""
        if self.running:
            self.kill()
        self._discard_data()
        other.make_slot(self.name, afresh=True)
        self._cluster.run("pg_basebackup", "-D", self.data, "-d", self._conninfo(other), "-R", "-S", self.name, "-X", "stream", "-c", "fast", "--no-sync")
        # The copy has what ALTER SYSTEM set on the other node too; this one starts with nothing but its own.
        settings = f"primary_conninfo = '{self._conninfo(other)}'\nprimary_slot_name = '{self.name}'\n"
        (self.data / "postgresql.auto.conf").write_text(settings)
        self.upstream = other
        self.start()
        self.wait_streaming()

    def _discard_data(self):
        if self.data.exists():
            # Deleting may take seconds, which nobody needs to wait for.
            discarded = self.data.rename(self.data.with_name(f"{self.name}.discarded-{secrets.token_hex(4)}"))
            threading.Thread(target=shutil.rmtree, args=(discarded, True), daemon=True).start()

    def _conninfo(self, other):
        return f"host=127.0.0.1 port={other.port} user=replicator passfile={self._cluster.passfile} application_name={self.name}"

    def make_slot(self, name, afresh=False):
        """A physical slot that nobody uses; promotion does not bring the old primary's along. An old one may have lost the log that it stood for."""
        free = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
        wait_until(lambda: self.superuser(free, parameters=(name,)) in ([], [(False,)]), f"slot {name} on {self.name} free")
        if afresh:
            self.superuser("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", parameters=(name,))
        self.superuser("SELECT pg_create_physical_replication_slot(%s, true) WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s)",
                       parameters=(name, name))

    def wait_streaming(self, seconds=SECONDS):
        """Wait until a replica streams from the node that it follows."""
        def streaming():
            receives = self.superuser("SELECT sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'") == [(self.upstream.port,)]
            sends = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
            return receives and self.upstream.superuser(sends, parameters=(self.name,)) == [(1,)]

        wait_until(streaming, f"{self.name} streams from {self.upstream.name}: {self.log_tail()}", seconds)

    def wait_caught_up(self, seconds=SECONDS):
        """Wait until a replica shows all that its primary has written by now."""
        written = self.upstream.wal_lsn()
        wait_until(lambda: self.replay_lsn() >= written, f"{self.name} caught up with {self.upstream.name}", seconds)

    def close(self):
        """Leave nothing running."""
        try:
            if self.running:
                self.stop("immediate", seconds=10)
        finally:
            self.kill()
            self._reserved.release()


def _state(pid):
    """The kernel's letter for the state of a process; Z for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


class PostgresCluster:
    """A primary and its streaming replicas, on free ports; the directory must be one that other users may pass through.

    The role cognive owns the database cognive and may see statistics and promote. Further settings are given by name:
    PostgresCluster(directory, wal_sender_timeout="2s").
    """

    def __init__(self, directory, replicas=2, synchronous=False, **settings):
        self.directory = Path(directory).resolve()
        self.password = secrets.token_hex(12)
        self.synchronous = synchronous
        self.settings = SETTINGS | settings
        self.passfile = self.directory / "passfile"
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.directory), "LC_ALL": "C.UTF-8", "PGPASSFILE": str(self.passfile)}
        # The path of a socket must have at most 107 bytes, and pytest's directories are long.
        self._sockets = tempfile.TemporaryDirectory(prefix="cognive-", dir="/tmp")
        self.sockets = self._sockets.name
        self.primary = Node(self, "primary")
        self.replicas = [Node(self, f"replica_{number + 1}") for number in range(replicas)]
        self.nodes = [self.primary, *self.replicas]

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def node(self, name):
        """The node of a name."""
        return next(node for node in self.nodes if node.name == name)

    def close(self):
        """Stop all nodes, at the same time."""
        with concurrent.futures.ThreadPoolExecutor(len(self.nodes)) as pool:
            closed = [pool.submit(node.close) for node in self.nodes]
        self._sockets.cleanup()
        for each in closed:
            each.result()

    def command(self, program, *arguments, death_signal="KILL"):
        """The command line of one of PostgreSQL's programs, as a user that it accepts."""
        user = ["--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--init-groups"] if os.geteuid() == 0 else []
        return ["setpriv", *user, "--pdeathsig", death_signal, binaries() / program, *map(str, arguments)]

    def run(self, program, *arguments):
        """Run one of PostgreSQL's programs to its end."""
        done = subprocess.run(self.command(program, *arguments), cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def _start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in (self.directory, self.sockets):
            shutil.chown(path, SYSTEM_USER)
            os.chmod(path, 0o755)
        replication_password = secrets.token_hex(12)
        self.passfile.write_text(f"*:*:*:replicator:{replication_password}\n")
        self.passfile.chmod(0o600)
        shutil.chown(self.passfile, SYSTEM_USER)
        self.run("initdb", "-D", self.primary.data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync")
        settings = self.settings | {"unix_socket_directories": self.sockets}
        with open(self.primary.data / "postgresql.conf", "a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.primary.data / "pg_hba.conf").write_text("local all postgres peer map=tests\n"
                                                       "host all all 127.0.0.1/32 scram-sha-256\n"
                                                       "host replication replicator 127.0.0.1/32 scram-sha-256\n")
        (self.primary.data / "pg_ident.conf").write_text(f"tests {getpass.getuser()} postgres\ntests {SYSTEM_USER} postgres\n")
        self.primary.start()
        for statement in (f"CREATE ROLE replicator REPLICATION LOGIN PASSWORD '{replication_password}'",
                          f"CREATE ROLE cognive LOGIN PASSWORD '{self.password}' IN ROLE pg_monitor",
                          "CREATE DATABASE cognive OWNER cognive"):
            self.primary.superuser(statement)
        self.primary.superuser("GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO cognive", database="cognive")
        with concurrent.futures.ThreadPoolExecutor(max(1, len(self.replicas))) as pool:
            list(pool.map(lambda replica: replica.reseed_from(self.primary), self.replicas))
        if self.synchronous:
            self.primary.set_synchronous([replica.name for replica in self.replicas])
