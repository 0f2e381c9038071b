"""The PostgreSQL cluster of the chaos tests does what it says: each fault is a real one, and ends when it should."""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

import postgres
from installation import processes_in, wait_until
from postgres import PostgresCluster


@pytest.fixture(scope="module")
def cluster(shared_directory):
    """One cluster for the tests, which leave it as they found it; the failover comes last."""
    with PostgresCluster(shared_directory / "support-cluster", replicas=2, synchronous=True) as running:
        running.primary.sql("CREATE TABLE facts (number bigint PRIMARY KEY)")
        yield running
    assert not processes_in(running.directory)
    assert not Path(running.sockets).exists()


def refusal(port, seconds=5):
    """The SQLSTATE with which a server refuses a connection before it asks for a password; None when it asks for one."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as wire:
        body = struct.pack("!I", 3 << 16) + b"user\0cognive\0database\0cognive\0\0"
        wire.sendall(struct.pack("!I", len(body) + 4) + body)
        answer = b""
        while data := wire.recv(4096):
            answer += data
            if answer[:1] == b"R":
                return None
    return re.search(rb"\0C(\w{5})\0", answer)[1].decode()


def numbers(node):
    """The rows that a node shows."""
    return [number for (number,) in node.sql("SELECT number FROM facts ORDER BY number")]


# --- what is there ----------------------------------------------------------------------------------------------------


def test_replicas_show_what_the_primary_took_and_take_nothing_themselves(cluster):
    cluster.primary.sql("INSERT INTO facts VALUES (1) ON CONFLICT DO NOTHING")
    assert [node.is_in_recovery() for node in cluster.nodes] == [False, True, True]
    for replica in cluster.replicas:
        replica.wait_caught_up()
        assert 1 in numbers(replica)
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            replica.sql("INSERT INTO facts VALUES (2)")
    names = cluster.primary.sql("SELECT application_name, sync_state FROM pg_stat_replication ORDER BY 1")
    assert names == [("replica_1", "quorum"), ("replica_2", "quorum")]


def test_the_role_owns_its_database_may_promote_and_is_no_superuser(cluster):
    owner = cluster.primary.sql("SELECT pg_get_userbyid(datdba), current_user FROM pg_database WHERE datname = 'cognive'")
    assert owner == [("cognive", "cognive")]
    rights = cluster.primary.sql("SELECT has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE'), pg_has_role('pg_monitor', 'MEMBER'), rolsuper"
                                 " FROM pg_roles WHERE rolname = current_user")
    assert rights == [(True, True, False)]
    assert cluster.primary.superuser("SHOW data_checksums") + cluster.primary.superuser("SHOW fsync") == [("on",), ("on",)]


def test_only_the_right_password_opens_it(cluster):
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        postgres.query(cluster.primary.url.replace(cluster.password, "wrong"), "SELECT 1")
    with pytest.raises(psycopg2.OperationalError, match="password"):
        postgres.query(f"host=127.0.0.1 port={cluster.primary.port} user=postgres dbname=postgres", "SELECT 1")


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_paused_replica_falls_behind_while_it_receives_and_catches_up(cluster):
    one, two = cluster.replicas
    one.wait_caught_up()
    one.pause_replay()
    cluster.primary.sql("INSERT INTO facts SELECT generate_series(100, 200)")
    two.wait_caught_up()
    assert 200 in numbers(two) and 200 not in numbers(one)
    wait_until(lambda: one.received_lsn() > one.replay_lsn(), "the log received", seconds=5)
    assert one.replay_lsn() < two.replay_lsn()
    one.resume_replay()
    one.wait_caught_up()
    assert 200 in numbers(one)


def test_a_frozen_node_takes_connections_and_answers_nothing_until_it_thaws(cluster):
    with contextlib.closing(psycopg2.connect(cluster.primary.url)) as connection, ThreadPoolExecutor(1) as pool:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cluster.primary.freeze()
        try:
            asked = time.monotonic()
            with pytest.raises(TimeoutError):
                cluster.primary.sql("SELECT 1", seconds=0.5)
            assert 0.5 <= time.monotonic() - asked < 1.5
            socket.create_connection(("127.0.0.1", cluster.primary.port), timeout=1).close()
            answer = pool.submit(cursor.execute, "SELECT 2")  # of a session that was there before
            with pytest.raises(TimeoutError):
                answer.result(0.3)
        finally:
            cluster.primary.thaw()
        answer.result(10)
        assert cursor.fetchone() == (2,)
    assert cluster.primary.sql("SELECT 3") == [(3,)]


def test_a_killed_node_ends_its_sessions_leaves_no_process_and_keeps_what_it_took(cluster):
    with contextlib.closing(psycopg2.connect(cluster.primary.url)) as connection:
        cursor = connection.cursor()
        cluster.primary.sql("INSERT INTO facts VALUES (300)")
        cluster.primary.kill()
        assert not cluster.primary.processes() and not processes_in(cluster.primary.data)
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT 1")
        with pytest.raises(psycopg2.OperationalError, match="refused"):
            cluster.primary.sql("SELECT 1")
    cluster.primary.start()
    assert 300 in numbers(cluster.primary)
    for replica in cluster.replicas:
        replica.wait_streaming()


def test_a_frozen_node_can_be_killed_and_a_replica_stopped_and_started(cluster):
    replica = cluster.replicas[0]
    replica.freeze()
    replica.kill()
    assert not replica.processes()
    replica.start()
    replica.stop()
    assert not replica.running and not replica.processes()
    cluster.primary.sql("INSERT INTO facts VALUES (400)")
    replica.start()
    replica.wait_streaming()
    replica.wait_caught_up()
    assert 400 in numbers(replica)


@pytest.mark.parametrize("name", ["primary", "replica_2"])
def test_a_node_held_while_it_starts_says_so_for_that_long_and_is_ready_then(cluster, name):
    node = cluster.node(name)
    node.kill()
    node.hold_starting(1)
    held = time.monotonic()
    assert refusal(node.port) == "57P03"
    with pytest.raises(psycopg2.OperationalError, match="the database system is starting up"):
        node.sql("SELECT 1")
    wait_until(lambda: refusal(node.port) != "57P03", "the end of the hold", seconds=10)
    assert 0.9 < time.monotonic() - held < 5
    node.wait_ready()
    assert numbers(node)
    for replica in cluster.replicas:
        replica.wait_streaming()


def test_a_held_node_can_be_released_early_stopped_or_killed(cluster):
    node = cluster.replicas[0]
    node.stop()
    node.hold_starting(60)
    node.release_starting()
    node.stop()
    node.hold_starting(60)
    assert refusal(node.port) == "57P03"
    node.kill()
    node.hold_starting(60)
    node.stop()
    node.start()
    node.wait_streaming()


# --- our own end ------------------------------------------------------------------------------------------------------


def test_a_server_lives_on_when_the_thread_that_started_it_has_ended(cluster):
    node = cluster.replicas[1]
    node.stop()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(node.start).result(30)
    assert node.sql("SELECT 1") == [(1,)] and node.running


def test_nothing_stays_when_the_tests_are_killed_even_when_a_node_is_frozen(shared_directory):
    directory = shared_directory / "support-aborted"
    script = ("import sys, time, postgres\n"
              "cluster = postgres.PostgresCluster(sys.argv[1], replicas=0).__enter__()\n"
              "cluster.primary.freeze()\n"
              "print(cluster.sockets, flush=True)\n"
              "time.sleep(60)\n")
    environment = os.environ | {"PYTHONPATH": str(Path(postgres.__file__).parent)}
    process = subprocess.Popen([sys.executable, "-c", script, directory], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        sockets = process.stdout.readline().strip()
        assert len(working_in(directory.resolve() / "primary")) > 3
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        wait_until(lambda: not working_in(directory.resolve() / "primary"), "no process left", seconds=10)
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
    for left in Path(sockets).iterdir():
        left.unlink()
    Path(sockets).rmdir()


def working_in(directory):
    """The processes whose working directory this is."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(directory):
                found.append(int(entry.name))
    return found


# --- failover ---------------------------------------------------------------------------------------------------------


def test_a_commit_waits_while_no_standby_is_there_and_goes_on_with_the_first_that_returns(cluster):
    one, two = cluster.replicas
    one.stop()
    two.freeze()
    with ThreadPoolExecutor(1) as pool:
        try:
            commit = pool.submit(cluster.primary.sql, "INSERT INTO facts VALUES (500)")
            wait_until(lambda: cluster.primary.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"), "the commit waiting", seconds=10)
            with pytest.raises(TimeoutError):
                commit.result(0.3)
            with pytest.raises(TimeoutError):
                cluster.primary.sql("INSERT INTO facts VALUES (501)", seconds=0.3)
        finally:
            two.thaw()
        commit.result(10)
    one.start()
    one.wait_streaming()
    cluster.primary.set_synchronous([])
    one.stop()
    two.freeze()
    cluster.primary.sql("INSERT INTO facts VALUES (502)", seconds=5)
    two.thaw()
    one.start()
    cluster.primary.set_synchronous(["replica_1", "replica_2"])
    for replica in cluster.replicas:
        replica.wait_streaming()
        replica.wait_caught_up()
        assert set(numbers(replica)) >= {500, 501, 502}


def test_after_a_failover_nothing_acknowledged_is_gone_and_the_old_primary_follows_the_new_one(cluster):
    old, (one, two) = cluster.primary, cluster.replicas
    one.wait_caught_up()
    before = numbers(old)
    old.kill()
    one.promote()
    two.follow(one)
    one.set_synchronous(["replica_2", "primary"])
    one.sql("INSERT INTO facts VALUES (600)")
    two.wait_caught_up()
    assert numbers(one) == numbers(two) == before + [600]

    old.reseed_from(one)
    old.wait_caught_up()
    assert old.is_in_recovery() and numbers(old) == before + [600]
    assert old.superuser("SHOW synchronous_standby_names") == [("",)]
    # It counts from the moment it streams.
    wait_until(lambda: sorted(one.sql("SELECT application_name, sync_state FROM pg_stat_replication")) == [("primary", "quorum"), ("replica_2", "quorum")],
               "both are waited for", 10)

    # Back again, so that a name means what it did.
    one.kill()
    old.promote()
    two.follow(old)
    old.sql("INSERT INTO facts VALUES (601)")
    one.reseed_from(old)
    one.wait_caught_up()
    assert [node.is_in_recovery() for node in cluster.nodes] == [False, True, True]
    assert numbers(one) == before + [600, 601]
