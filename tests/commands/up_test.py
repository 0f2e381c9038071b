"""`cognive up` and `cognive serve`: one command starts everything, nothing stays behind, and nothing acknowledged is lost."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import threading
import time
import uuid
from pathlib import Path

import psycopg2
import pytest
import requests

from installation import BINARY, Api, Installation, clean_environment, llm_call, processes_in, run_cognive, uuid7, wait_until

SENTENCE = r"cognive: [^\n]+\n"


def refused(directory, *flags, timeout=60, **environment):
    """`cognive up` that must not start: its one sentence. Nothing is left running."""
    done = run_cognive("up", "--data", directory, *flags, env=clean_environment(**environment), timeout=timeout)
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    assert re.fullmatch(SENTENCE, done.stderr), done.stderr
    return done.stderr


@contextlib.contextmanager
def taken_port():
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def server_pid(installation):
    """The process id of the installation's PostgreSQL."""
    return int((installation.directory / "postgres/primary/postmaster.pid").read_text().splitlines()[0])


@pytest.fixture(scope="module")
def kept(shared_directory):
    """One installation that the tests of this file stop, kill and start again; each leaves it running."""
    installation = Installation(shared_directory / "up-kept").start()
    yield installation
    assert installation.stop() == 0
    assert not processes_in(installation.directory)


@pytest.fixture
def restarted(kept):
    """The same, running whatever the test before did to it."""
    if kept.process is None or kept.process.poll() is not None:
        kept.start()
    return kept


# --- starting and stopping --------------------------------------------------------------------------------------------


def test_the_first_start_makes_secrets_that_only_the_owner_reads_and_shows_them_once(fresh):
    installation = fresh().start()
    directory = installation.directory
    for name in ("api-key", "env", "master-key"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600, name
    key = (directory / "api-key").read_text().strip()
    password = re.search(r"admin +admin@localhost +password (\S{16,})\n", installation.output)[1]
    assert installation.output.count(key) == 1 and installation.key == key
    assert installation.url in installation.output
    assert installation.api().get("/api/v1/agents").status_code == 200
    agent = installation.api().agent("kept")
    # Nothing secret is kept where it could be read later.
    secrets = [key.rsplit("_", 1)[1], password, (directory / "master-key").read_text().strip()]
    for log in (directory / "log").iterdir():
        assert not any(secret in log.read_text(errors="replace") for secret in secrets), log
    for table in ("users", "api_keys", "audit_logs"):
        assert not any(secret in str(row) for secret in secrets for row in installation.sql(f"SELECT t::text FROM {table} t"))
    assert installation.stop() == 0

    installation.start()
    assert key not in installation.output and "password" not in installation.output and password not in installation.output
    assert installation.key == key
    assert installation.api().get(f"/api/v1/agents/{agent['id']}").json() == agent
    assert installation.sql("SELECT count(*) FROM users") == [(1,)] and installation.sql("SELECT count(*) FROM api_keys") == [(1,)]


def test_the_environment_file_works_in_a_shell(installation):
    script = f". {shlex.quote(str(installation.directory / 'env'))} && psql \"$DATABASE_URL\" -Atc 'select count(*) from teams' && echo \"$COGNIVE_URL\""
    done = subprocess.run(["sh", "-euc", script], env=clean_environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    count, url = done.stdout.split()
    assert int(count) >= 1 and url == installation.url


def test_a_file_that_was_lost_is_made_again(restarted):
    installation = restarted
    old = installation.key
    installation.stop()
    (installation.directory / "api-key").unlink()
    (installation.directory / "env").unlink()
    installation.start()
    assert installation.key != old and installation.key in installation.output and "password" not in installation.output
    assert installation.api().get("/api/v1/agents").status_code == 200
    assert installation.api(old).get("/api/v1/agents").status_code == 200


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_success_and_leaves_no_process(restarted, kind):
    installation = restarted
    assert len(processes_in(installation.directory)) >= 2
    event = llm_call(installation.api().run(installation.api().agent()["id"])["run_id"])
    assert installation.api().post("/api/v1/events", json=[event]).json()["accepted"] == 1
    assert installation.stop(kind) == 0
    assert processes_in(installation.directory) == []
    with pytest.raises(requests.ConnectionError):
        installation.api().get("/")
    installation.start()
    assert installation.api().post("/api/v1/events", json=[event]).json()["duplicates"] == 1


def test_a_stop_during_the_start_is_obeyed(fresh):
    installation = fresh()
    for _ in range(3):
        process = subprocess.Popen([BINARY, "up", "--data", installation.directory, "--port", "0"], env=clean_environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: (installation.directory / "lock").exists() and len(processes_in(installation.directory)) > 1, "the start under way")
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        wait_until(lambda: not processes_in(installation.directory), "no process left")
    installation.start()
    assert installation.api().get("/api/v1/agents").status_code == 200


def test_an_acknowledged_event_survives_a_kill(restarted):
    installation = restarted
    run_id = installation.api().run(installation.api().agent()["id"])["run_id"]
    for _ in range(3):
        event = llm_call(run_id)
        answer = installation.api().post(f"/api/v1/runs/{run_id}/llm-calls", json=event)
        os.kill(installation.process.pid, signal.SIGKILL)
        assert answer.status_code == 201
        installation.kill()
        assert processes_in(installation.directory) == []
        installation.start()
        assert installation.sql("SELECT count(*) FROM llm_calls WHERE id = %s", event["id"]) == [(1,)]
        assert installation.api().post(f"/api/v1/runs/{run_id}/llm-calls", json=event).status_code == 200


def test_a_start_at_once_after_a_kill_does_not_trip_over_what_is_still_ending(restarted):
    installation = restarted
    agent = installation.api().agent()
    for _ in range(3):
        installation.stop(signal.SIGKILL)
        installation.start()
    assert installation.api().get(f"/api/v1/agents/{agent['id']}").status_code == 200


def test_once_with_the_demo_shows_a_table_and_ends(fresh):
    installation = fresh()
    done = run_cognive("up", "--data", installation.directory, "--port", "0", "--demo", "--once")
    assert done.returncode == 0, done.stderr
    for model, agent in (("gpt-4o", "chat-gpt"), ("claude-sonnet-4-5", "chat-claude"), ("gemini-2.5-pro", "chat-gemini")):
        line = next(line for line in done.stdout.splitlines() if line.startswith(agent + " "))
        assert model in line and "1,000" in line and re.search(r"\$\d+\.\d{9}$", line), line
    total = next(line for line in done.stdout.splitlines() if line.startswith("3 agents"))
    assert "3,000" in total
    assert processes_in(installation.directory) == []
    # Once more: the same traffic, not twice.
    again = run_cognive("up", "--data", installation.directory, "--port", "0", "--demo", "--once")
    assert again.returncode == 0 and total in again.stdout.splitlines()


def test_two_installations_live_side_by_side(installation, fresh):
    other = fresh().start()
    assert other.url != installation.url and other.variables["DATABASE_URL"] != installation.variables["DATABASE_URL"]
    agent = other.api().agent()
    assert installation.api().get(f"/api/v1/agents/{agent['id']}").status_code == 404
    assert Api(other.url, installation.key).get("/api/v1/agents").status_code == 401
    assert Api(installation.url, other.key).get("/api/v1/agents").status_code == 401
    assert other.stop() == 0
    assert installation.api().get("/api/v1/agents").status_code == 200


# --- what may be in the way -------------------------------------------------------------------------------------------


def test_a_port_in_use_is_named_and_nothing_is_left_running(fresh):
    installation = fresh()
    with taken_port() as port:
        assert str(port) in refused(installation.directory, "--port", port)
        # Found out before anything is made.
        assert not (installation.directory / "postgres/primary").exists()
        assert str(port) in refused(installation.directory, HTTP_PORT=port)
    assert processes_in(installation.directory) == []
    # Nobody has seen the password of the admin yet: the first start that succeeds must show one that works.
    installation.start()
    assert re.search(r"admin +admin@localhost +password \S{16,}", installation.output), installation.output


def test_only_the_port_that_will_be_used_must_be_free(restarted, tmp_path):
    with contextlib.ExitStack() as stack:
        default = stack.enter_context(socket.socket())
        with contextlib.suppress(OSError):  # taken by somebody else is as good
            default.bind(("127.0.0.1", 8000))
            default.listen()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        restarted.stop()
        done = run_cognive("up", "--data", restarted.directory, "--once", env=clean_environment(HTTP_PORT=port))
    assert done.returncode == 0, done.stderr
    assert f":{port}\n" in done.stdout


def test_a_data_directory_in_use_is_refused_with_the_process_that_has_it(installation):
    said = refused(installation.directory, "--port", "0")
    assert str(installation.directory) in said and str(installation.process.pid) in said
    assert installation.api().get("/api/v1/agents").status_code == 200
    assert installation.cli("keys", "list").returncode == 0


def test_the_data_of_another_postgresql_is_not_touched(restarted):
    installation = restarted
    agent = installation.api().agent()
    installation.stop()
    version = installation.directory / "postgres/primary/PG_VERSION"
    real = version.read_text()
    version.write_text("12\n")
    said = refused(installation.directory, "--port", "0")
    assert "12" in said and "PostgreSQL" in said
    assert processes_in(installation.directory) == []
    version.write_text("nonsense\n")
    assert "PostgreSQL" in refused(installation.directory, "--port", "0")
    version.write_text(real)
    installation.start()
    assert installation.api().get(f"/api/v1/agents/{agent['id']}").status_code == 200


def test_a_missing_postgresql_is_explained(fresh, shared_directory):
    empty = shared_directory / "no-postgresql"
    empty.mkdir(exist_ok=True)
    installation = fresh()
    said = refused(installation.directory, "--port", "0", COGNIVE_POSTGRES_BIN=empty)
    assert "COGNIVE_POSTGRES_BIN" in said and str(empty) in said
    assert processes_in(installation.directory) == []


def test_a_directory_that_cannot_be_made_or_written_is_named(shared_directory):
    file = shared_directory / "a-file"
    file.write_text("not a directory")
    assert "/proc/cognive" in refused("/proc/cognive", "--port", "0")
    for path in (file, file / "below"):
        said = refused(path, "--port", "0")
        # What is wrong is that it is a file, not who may read it.
        assert str(file) in said and "directory" in said.lower() and "may not pass" not in said, said
    assert file.read_text() == "not a directory"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as another user")
def test_a_directory_that_the_database_user_cannot_reach_is_named(shared_directory):
    closed = shared_directory / "closed"
    closed.mkdir(mode=0o700, exist_ok=True)
    said = refused(closed / "data", "--port", "0")
    assert str(closed) in said and "--data" in said
    assert not (closed / "data").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_without_permission_to_write_is_named(tmp_path):
    tmp_path.chmod(0o500)
    assert str(tmp_path) in refused(tmp_path / "data", "--port", "0")


def test_wrong_settings_are_all_named_before_the_api_starts(restarted):
    installation = restarted
    installation.stop()
    done = run_cognive("up", "--data", installation.directory, "--port", "0", env=clean_environment(HTTP_THREADS="many", LOG_LEVEL="loud"))
    assert done.returncode == 1 and "HTTP_THREADS" in done.stderr and "LOG_LEVEL" in done.stderr
    assert processes_in(installation.directory) == []


def test_settings_for_other_servers_do_not_reach_it(restarted):
    restarted.stop()
    foreign = clean_environment(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere", COGNIVE_MASTER_KEY_FILE="/nowhere", READINESS_REQUIRES="redis",
                                REDIS_URL="redis://127.0.0.1:1")
    done = run_cognive("up", "--data", restarted.directory, "--port", "0", "--once", env=foreign)
    assert done.returncode == 0, done.stderr
    assert "nobody" not in (restarted.directory / "env").read_text()
    assert restarted.start().api().get("/api/v1/health/readiness").status_code == 200


# --- a database that dies under it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", ["a backend", "all backends", "the server"])
def test_requests_get_503_while_postgresql_is_away_and_it_recovers_by_itself(restarted, victim):
    installation = restarted
    api = installation.api()
    run_id = api.run(api.agent()["id"])["run_id"]
    stop, unexpected, acknowledged = threading.Event(), [], set()
    statuses = []

    def report():
        own = installation.api()
        while not stop.is_set():
            event = llm_call(run_id)
            while not stop.is_set():
                answer = own.post(f"/api/v1/runs/{run_id}/llm-calls", json=event)
                statuses.append((time.monotonic(), answer.status_code))
                if answer.status_code in (200, 201):
                    acknowledged.add(event["id"])
                    break
                if (answer.status_code != 503 or not int(answer.headers.get("Retry-After", 0)) >= 1
                        or answer.headers["Content-Type"] != "application/problem+json"):
                    unexpected.append((answer.status_code, answer.headers, answer.text))
                    return

    reporters = [threading.Thread(target=report) for _ in range(3)]
    for reporter in reporters:
        reporter.start()
    try:
        wait_until(lambda: len(acknowledged) > 20, "traffic")
        postmaster = server_pid(installation)
        if victim == "the server":
            os.kill(postmaster, signal.SIGKILL)
        else:
            backends = [pid for (pid,) in installation.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'cognive' AND pid <> pg_backend_pid()")]
            for pid in backends[:1] if victim == "a backend" else backends:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        died = time.monotonic()
        count = len(acknowledged)
        wait_until(lambda: any(status == 503 for _, status in statuses) or unexpected, "an answer while it is away", seconds=10)
        wait_until(lambda: unexpected or len(acknowledged) > count + 50, "traffic again", seconds=30)
        assert not unexpected, unexpected[0]
        recovered = next(when for when, status in reversed(statuses) if status == 503)
        assert recovered - died < 20
    finally:
        stop.set()
        for reporter in reporters:
            reporter.join()
    assert {str(event_id) for (event_id,) in installation.sql("SELECT id FROM llm_calls")} >= acknowledged
    assert installation.process.poll() is None
    assert api.get("/api/v1/health/readiness").status_code == 200


# --- serve ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(log_path, **environment):
    """`cognive serve` on a free port; its URL."""
    with open(log_path, "w") as log:
        process = subprocess.Popen([BINARY, "serve"], env=clean_environment(**{"HTTP_PORT": 0} | environment), stdout=log, stderr=log)
    try:
        def port():
            text = Path(log_path).read_text()
            assert process.poll() is None, f"exited with {process.returncode}: {text}"
            found = re.search(r'"message":"listening".*?"port":(\d+)', text)
            return found and int(found[1])

        yield f"http://127.0.0.1:{wait_until(port, 'serve listening')}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_second_node_on_the_same_database_knows_keys_prices_and_revocations(installation, tmp_path):
    names = ("DATABASE_URL", "COGNIVE_MASTER_KEY_FILE")
    with served(tmp_path / "log", **{name: installation.variables[name] for name in names}) as url:
        here, there = installation.api(), Api(url, installation.key)
        assert there.get("/api/v1/health/readiness").status_code == 200
        agent = here.agent()
        assert there.get(f"/api/v1/agents/{agent['id']}").json() == agent
        run_id = there.run(agent["id"])["run_id"]
        event = llm_call(run_id)
        assert there.post("/api/v1/events", json=[event]).json()["accepted"] == 1
        assert here.post("/api/v1/events", json=[event]).json()["duplicates"] == 1
        assert json.loads(here.get(f"/api/v1/runs/{run_id}").text)["totals"]["cost_usd"] == 0.0035
        quotes = [json.loads(node.get("/api/v1/prices/quote", params={"model": "claude-sonnet-4-5", "input_tokens": 1, "at": "2026-11-01T00:00:00Z"}).text)
                  for node in (here, there)]
        assert quotes[0] == quotes[1] and quotes[0]["status"] == "priced"
        key = installation.team_key("nodes-" + uuid7())
        assert [Api(node, key).get("/api/v1/agents").status_code for node in (url, installation.url)] == [200, 200]
        assert installation.cli("keys", "revoke", str(uuid.UUID(key.split("_")[1]))).returncode == 0
        wait_until(lambda: {Api(node, key).get("/api/v1/agents").status_code for node in (url, installation.url)} == {401}, "revoked everywhere", seconds=1.5)


def test_a_node_that_starts_before_its_database_is_ready_later(restarted, tmp_path):
    installation = restarted
    variables = dict(installation.variables)
    installation.stop()
    with served(tmp_path / "log", DATABASE_URL=variables["DATABASE_URL"], COGNIVE_MASTER_KEY_FILE=variables["COGNIVE_MASTER_KEY_FILE"]) as url:
        api = Api(url, installation.key)
        away = api.get("/api/v1/agents")
        assert (away.status_code, away.headers["Content-Type"]) == (503, "application/problem+json") and int(away.headers["Retry-After"]) >= 1
        assert api.get("/api/v1/health/readiness").status_code == 503
        assert api.get("/api/v1/health/liveness").status_code == 200
        installation.start()
        assert installation.variables["DATABASE_URL"] == variables["DATABASE_URL"]
        wait_until(lambda: api.get("/api/v1/health/readiness").status_code == 200, "the node ready", seconds=10)
        wait_until(lambda: api.get("/api/v1/prices/quote", params={"model": "gpt-4o", "input_tokens": 1}).json()["status"] == "priced",
                   "prices loaded", seconds=10)


def served_refusal(**environment):
    """`cognive serve` that must not start: what it says."""
    done = run_cognive("serve", env=clean_environment(**environment), timeout=20)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


GOOD = {"DATABASE_URL": "postgresql://x:y@127.0.0.1:1/z", "COGNIVE_MASTER_KEY": "k" * 32, "HTTP_PORT": "0"}


@pytest.mark.parametrize("missing", ["DATABASE_URL", "COGNIVE_MASTER_KEY"])
def test_a_missing_variable_is_named_in_one_line(missing):
    said = served_refusal(**{name: value for name, value in GOOD.items() if name != missing})
    assert re.fullmatch(SENTENCE, said) and missing in said


def test_all_missing_variables_are_named_at_once():
    said = served_refusal(HTTP_PORT="0")
    assert "DATABASE_URL" in said and "COGNIVE_MASTER_KEY" in said


def test_all_bad_values_are_named_at_once_and_no_secret_is_repeated():
    bad = {"DATABASE_URL": "mysql://me:s3cret@host/db", "DATABASE_READ_URLS": "s3cret", "HTTP_PORT": "70000", "HTTP_THREADS": "-1", "LOG_LEVEL": "loud",
           "DATABASE_CONNECTIONS": "", "DATABASE_TIMEOUT_MS": "1s", "COGNIVE_MASTER_KEY": "s3cret", "REDIS_URL": "s3cret", "HTTP_BODY_BYTES_MAX": "1e6"}
    said = served_refusal(**bad)
    for name in set(bad) - {"DATABASE_CONNECTIONS"}:
        assert name in said, name
    assert "s3cret" not in said


@pytest.mark.parametrize("name, value", [("COGNIVE_MASTER_KEY_FILE", "/nowhere/key"), ("COGNIVE_MASTER_KEY", "short"),
                                         ("DATABASE_URL_ASYNC", "postgresql+asyncpg://x:y@elsewhere/z"), ("HTTP_PORT", "8000x")])
def test_a_bad_value_is_named_in_one_line(name, value):
    variables = GOOD | {name: value}
    if name == "COGNIVE_MASTER_KEY_FILE":
        del variables["COGNIVE_MASTER_KEY"]
    said = served_refusal(**variables)
    assert re.fullmatch(SENTENCE, said) and name in said


def test_serve_on_a_port_in_use_says_so(installation):
    with taken_port() as port:
        done = run_cognive("serve", "--port", port, env=clean_environment(**installation.variables), timeout=20)
    assert done.returncode == 1 and str(port) in done.stderr


def test_the_settings_in_force_are_shown_without_secrets(installation):
    done = run_cognive("serve", "--print-settings", env=clean_environment(**installation.variables, HTTP_PORT="1234"))
    assert done.returncode == 0 and "1234" in done.stdout
    password = psycopg2.extensions.parse_dsn(installation.variables["DATABASE_URL"])["password"]
    assert password not in done.stdout and (installation.directory / "master-key").read_text().strip() not in done.stdout
