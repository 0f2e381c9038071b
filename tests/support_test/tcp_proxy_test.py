"""The TCP proxy of the chaos tests breaks real PostgreSQL connections in the ways that its modes name, and mends them again."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

import postgres
from installation import wait_until
from postgres import PostgresCluster
from tcp_proxy import TcpProxy

LONG = "SELECT repeat('x', 300000)"


@pytest.fixture(scope="module")
def server(shared_directory):
    """A PostgreSQL without replicas."""
    with PostgresCluster(shared_directory / "support-proxied", replicas=0) as cluster:
        yield cluster.primary


@pytest.fixture
def proxy(server):
    """A proxy before it."""
    with TcpProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def ask(server, proxy):
    """Rows of a statement, asked on a new connection through the proxy."""
    return lambda statement="SELECT 1", seconds=10: postgres.query(server.url.replace(str(server.port), str(proxy.port)), statement, seconds=seconds)


@pytest.fixture
def session(server, proxy):
    """A session through the proxy that was there before anything happened: execute in another thread, for it may hang."""
    with contextlib.closing(psycopg2.connect(server.url.replace(str(server.port), str(proxy.port)))) as connection, ThreadPoolExecutor(1) as pool:
        connection.autocommit = True
        cursor = connection.cursor()

        def execute(statement):
            cursor.execute(statement)
            return cursor.fetchall()

        yield lambda statement: pool.submit(execute, statement)
        proxy.close_all()


def psql(server, proxy, statement):
    """What psql makes of a statement through the proxy."""
    url = server.url.replace(str(server.port), str(proxy.port))
    return subprocess.run(["psql", url, "-XAtc", statement], capture_output=True, text=True, timeout=20, env=os.environ | {"LC_ALL": "C"})


def test_everything_passes_and_is_counted(server, proxy, ask):
    done = psql(server, proxy, LONG)
    assert done.returncode == 0 and done.stdout == "x" * 300000 + "\n"
    assert proxy.connections_accepted == 1 and proxy.bytes_to_client > 300000 > proxy.bytes_to_server > 100
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda _: ask("SELECT sum(n) FROM generate_series(1, 1000) n"), range(10))) == [[(500500,)]] * 10
    assert proxy.connections_accepted == 11
    wait_until(lambda: proxy.connections_open == 0, "all closed", seconds=5)
    wait_until(lambda: server.superuser("SELECT count(*) FROM pg_stat_activity WHERE usename = 'cognive'") == [(0,)], "no session left", seconds=5)


@pytest.mark.parametrize("reset", [False, True])
def test_closed_connections_fail_and_new_ones_work(proxy, ask, session, reset):
    assert session("SELECT 1").result(5) == [(1,)]
    waiting = session("SELECT pg_sleep(30)")
    sent = proxy.bytes_to_server
    wait_until(lambda: proxy.bytes_to_server > sent, "the statement sent", seconds=5)
    proxy.close_all(reset)
    assert proxy.connections_open == 0
    with pytest.raises(psycopg2.OperationalError, match="server closed the connection"):
        waiting.result(5)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as wire:  # libpq does not tell the two apart
        wait_until(lambda: proxy.connections_open == 1, "accepted", seconds=5)
        proxy.close_all(reset)
        with pytest.raises(ConnectionResetError) if reset else contextlib.nullcontext(b"") as end:
            assert wire.recv(1) == end
    assert ask() == [(1,)]


def test_refused_connections_are_refused_and_the_port_comes_back(proxy, ask, session):
    port = proxy.port
    for _ in range(3):
        proxy.refuse()
        assert proxy.connections_open == 0
        with pytest.raises(psycopg2.OperationalError, match="Connection refused"):
            ask()
        proxy.pass_through()
        assert ask() == [(1,)] and proxy.port == port
    with pytest.raises(psycopg2.OperationalError):
        session("SELECT 1").result(5)


def test_a_stalled_line_takes_connections_answers_nothing_and_goes_on_where_it_was(proxy, ask, session):
    proxy.stall()
    sent = proxy.bytes_to_server, proxy.bytes_to_client
    with pytest.raises(TimeoutError):
        ask(seconds=0.4)
    waiting = session("SELECT 7")
    with pytest.raises(TimeoutError):
        waiting.result(0.3)
    assert (proxy.bytes_to_server, proxy.bytes_to_client) == sent
    proxy.pass_through()
    assert waiting.result(5) == [(7,)] and ask() == [(1,)]


def test_a_stalled_line_does_not_even_tell_that_the_server_went(server, proxy, session):
    pid = session("SELECT pg_backend_pid()").result(5)[0][0]
    proxy.stall()
    waiting = session("SELECT 1")
    assert server.superuser("SELECT pg_terminate_backend(%s, 5000)", parameters=(pid,)) == [(True,)]
    with pytest.raises(TimeoutError):
        waiting.result(0.3)
    proxy.pass_through()
    with pytest.raises(psycopg2.OperationalError):
        waiting.result(5)


def test_stalled_responses_let_the_statement_happen_and_hold_its_answer(server, proxy, session):
    server.sql("CREATE TABLE IF NOT EXISTS happened (number int)")
    proxy.stall_responses()
    received = proxy.bytes_to_client
    waiting = session("INSERT INTO happened VALUES (1) RETURNING number")
    wait_until(lambda: server.sql("SELECT number FROM happened") == [(1,)], "the row", seconds=5)
    with pytest.raises(TimeoutError):
        waiting.result(0.3)
    assert proxy.bytes_to_client == received
    proxy.pass_through()
    assert waiting.result(5) == [(1,)]


def test_a_truncated_answer_ends_after_exactly_so_many_bytes(server, proxy, ask, session):
    assert session("SELECT 1").result(5) == [(1,)]
    received = proxy.bytes_to_client
    proxy.truncate_after(100_000)
    with pytest.raises(psycopg2.OperationalError):
        session(LONG).result(5)
    assert proxy.bytes_to_client == received + 100_000
    done = psql(server, proxy, LONG)
    assert done.returncode != 0 and "x" not in done.stdout and "server closed the connection unexpectedly" in done.stderr
    assert proxy.bytes_to_client == received + 200_000
    proxy.truncate_after(0)
    with pytest.raises(psycopg2.OperationalError):
        ask()
    assert proxy.bytes_to_client == received + 200_000
    proxy.pass_through()
    assert len(ask(LONG)[0][0]) == 300_000


def test_a_delay_holds_each_chunk_both_ways_until_it_ends(proxy, session):
    proxy.delay(0.2)
    asked = time.monotonic()
    assert session("SELECT 1").result(5) == [(1,)]
    assert 0.4 <= time.monotonic() - asked < 2
    proxy.delay(60)
    waiting = session("SELECT 2")
    with pytest.raises(TimeoutError):
        waiting.result(0.2)
    proxy.pass_through()
    assert waiting.result(5) == [(2,)]


def test_a_dribble_has_its_speed_and_ends_with_the_mode(proxy, session):
    proxy.dribble(20_000)
    received, asked = proxy.bytes_to_client, time.monotonic()
    waiting = session(LONG)
    wait_until(lambda: proxy.bytes_to_client - received > 12_000, "some bytes", seconds=5)
    assert 0.4 < time.monotonic() - asked < 2
    proxy.pass_through()
    assert len(waiting.result(5)[0][0]) == 300_000


def test_a_dead_server_is_an_accepted_and_closed_connection(server, proxy, session):
    server.kill()
    try:
        with pytest.raises(psycopg2.OperationalError):
            session("SELECT 1").result(5)
        with contextlib.suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as wire:
            assert wire.recv(1) == b""
    finally:
        server.start()


def test_modes_change_from_many_threads_under_traffic_and_the_proxy_works_on(proxy, ask):
    stop, unexpected, answered = threading.Event(), [], []

    def work():
        while not stop.is_set():
            try:
                answered.append(ask(seconds=1))
            except (psycopg2.OperationalError, TimeoutError):
                pass
            except Exception as error:  # anything else is what the test looks for
                unexpected.append(error)

    def change(number):
        modes = (proxy.stall, proxy.pass_through, proxy.refuse, proxy.close_all, lambda: proxy.delay(0.01), proxy.stall_responses,
                 lambda: proxy.truncate_after(500), lambda: proxy.dribble(5000))
        for step in range(40):
            modes[(number * 3 + step) % len(modes)]()

    with ThreadPoolExecutor(7) as pool:
        for _ in range(3):
            pool.submit(work)
        try:
            for changing in [pool.submit(change, number) for number in range(4)]:
                changing.result(20)
            proxy.pass_through()
            before = len(answered)
            wait_until(lambda: len(answered) > before + 5, "traffic again", seconds=10)
        finally:
            stop.set()
    assert not unexpected
    wait_until(lambda: proxy.connections_open == 0, "all closed", seconds=5)


def test_a_closed_proxy_leaves_no_thread_and_no_port(server):
    threads = set(threading.enumerate())
    proxy = TcpProxy(server.port)
    proxy.stall()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5):
        proxy.close()
        proxy.close()
    assert set(threading.enumerate()) <= threads
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
