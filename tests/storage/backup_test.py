"""`cognive backup`: what is restored is what was dumped, row by row, of one moment, and whatever breaks off is no backup."""

import json
import os
import subprocess
import threading

import pytest

from deployment import Deployment
from installation import BINARY, clean_environment, llm_call, run_cognive, uuid7, wait_until
from tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def deployment(shared_directory):
    """A database with a little of everything."""
    with Deployment(shared_directory / "backup", replicas=0) as made:
        api = made.serve().api()
        wait_until(lambda: api.get("/api/v1/health/readiness").status_code == 200, "it is ready", 30)
        for number in range(3):
            agent = api.agent(name=f"agent ü {number}", labels={"quote": "it's \"x\""}, metadata={"deep": [1, None, {"b": 1.5}]})["id"]
            run = api.run(agent)["run_id"]
            assert api.post("/api/v1/events", json=[llm_call(run) for _ in range(50)]).json()["accepted"] == 50
            assert api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent, "window": "day", "limit_usd": 1}).status_code == 201
        yield made


@pytest.fixture(params=["directory", "s3"])
def storage(request, shared_directory):
    """Settings of each adapter."""
    if request.param == "directory":
        return {"STORAGE_DIRECTORY": shared_directory / f"backup-{uuid7()}"}
    return request.getfixturevalue("ceph").settings() | {"STORAGE_BUCKET_PREFIX": f"{uuid7()[:13]}-"}


def backup(deployment, storage, *words, **extra):
    """`cognive backup`."""
    return deployment.cli("backup", *words, **storage | extra)


def created(deployment, storage):
    """A new backup, as its manifest says."""
    done = backup(deployment, storage, "create", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def empty(deployment):
    """URLs of new, empty databases."""
    made = []

    def make():
        made.append("restored_" + uuid7().replace("-", "_"))
        deployment.primary.superuser(f"CREATE DATABASE {made[-1]} OWNER cognive")
        return deployment.primary.url.rsplit("/", 1)[0] + "/" + made[-1]

    yield make
    for name in made:
        deployment.primary.superuser(f"DROP DATABASE {name} WITH (FORCE)")


def dump(deployment, database):
    """All rows of a database, table by table, as text."""
    tables = deployment.primary.superuser("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1", database=database)
    return {name: sorted(deployment.primary.superuser(f'SELECT t::text FROM "{name}" t', database=database)) for name, in tables}


def test_what_is_restored_is_what_was_dumped(deployment, storage, empty):
    deployment.stop_services()
    made = created(deployment, storage)
    before = dump(deployment, "cognive")
    assert {table["name"]: table["rows"] for table in made["tables"]} == {name: len(rows) for name, rows in before.items()}
    assert len(before["llm_calls"]) == 150
    url = empty()
    done = backup(deployment, storage, "restore", made["id"], "--to", url)
    assert done.returncode == 0 and "each as it was dumped" in done.stdout, done.stderr
    assert dump(deployment, url.rsplit("/", 1)[1]) == before
    check = run_cognive("migrate", "check", env=clean_environment(DATABASE_URL=url, COGNIVE_MASTER_KEY=deployment.master_key))
    assert check.returncode == 0, check.stdout + check.stderr
    proof = run_cognive("audit", "verify", env=clean_environment(DATABASE_URL=url, COGNIVE_MASTER_KEY=deployment.master_key))
    assert proof.returncode == 0, proof.stdout + proof.stderr
    # A service goes on with it, under the same keys.
    first = len(deployment.services)
    api = deployment.serve(DATABASE_URL=url, **storage).api()
    assert api.get("/api/v1/agents").status_code == 200 and api.agent()["id"]
    assert deployment.services[first].stop() == 0


def test_a_backup_is_of_one_moment_while_all_goes_on(deployment, storage, empty):
    service = deployment.serve()
    api = service.api()
    run = api.run(api.agent()["id"])["run_id"]
    ended = threading.Event()

    def write():
        while not ended.is_set():
            service.api().post("/api/v1/events", json=[llm_call(run) for _ in range(20)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [created(deployment, storage) for _ in range(2)]
    finally:
        ended.set()
        writer.join()
    listed = json.loads(backup(deployment, storage, "list", "--json").stdout)
    assert [one["id"] for one in listed] == [made[1]["id"], made[0]["id"]]
    assert made[0]["id"] in backup(deployment, storage, "list").stdout
    done = backup(deployment, storage, "restore", "--to", empty())
    assert done.returncode == 0 and made[1]["id"] in done.stdout, done.stderr


def test_it_restores_into_an_empty_database_only(deployment, storage):
    done = backup(deployment, storage, "restore")
    assert done.returncode == 1 and "There is no bucket" in done.stderr
    made = created(deployment, storage)
    done = backup(deployment, storage, "restore")
    assert done.returncode == 1 and "has tables already" in done.stderr
    done = backup(deployment, storage, "restore", "20000101T000000Z-nobody")
    assert done.returncode == 1 and "cognive backup list" in done.stderr
    assert deployment.primary.sql("SELECT count(*) FROM llm_calls")[0][0] >= 150 and made["bytes"] > 1000


def test_a_backup_that_is_not_whole_is_shown_and_hides_no_other(deployment, shared_directory, empty):
    storage = {"STORAGE_DIRECTORY": shared_directory / f"backup-{uuid7()}"}
    done = backup(deployment, storage, "list")
    assert done.returncode == 1 and "There is no bucket cognive-backups" in done.stderr
    made = [created(deployment, storage)["id"] for _ in range(4)]
    paths = {path.name: path for path in (storage["STORAGE_DIRECTORY"] / "cognive-backups" / "objects").rglob("*") if path.is_file()}
    find = lambda id, what: next(path for name, path in paths.items() if id in str(path) and what in name)
    find(made[3], "manifest").write_text("garbage")
    find(made[2], "dump").write_bytes(find(made[2], "dump").read_bytes()[:1000])
    find(made[1], "dump").unlink()
    done = backup(deployment, storage, "list", "--json")
    troubles = {one["id"]: one["trouble"] for one in json.loads(done.stdout)}
    assert done.returncode == 1 and list(troubles) == [made[2], made[1], made[0], made[3]]
    assert troubles[made[0]] is None and "in place of" in troubles[made[2]] and "missing" in troubles[made[1]] and "cannot be read" in troubles[made[3]]
    assert "Its dump is missing." in backup(deployment, storage, "list").stdout
    done = backup(deployment, storage, "restore", "--to", empty())
    assert done.returncode == 0 and f"{made[0]} is restored" in done.stdout, done.stderr
    for one in made[1:]:
        assert backup(deployment, storage, "remove", one).returncode == 0
    assert [one["id"] for one in json.loads(backup(deployment, storage, "list", "--json").stdout)] == [made[0]]
    done = backup(deployment, storage, "remove", made[1])
    assert done.returncode == 1 and "There is no backup" in done.stderr
    assert {path.parent.name if path.parent.name != "objects" else path.name for path in (storage["STORAGE_DIRECTORY"] / "cognive-backups" / "objects").rglob("*") if path.is_file() and made[0] not in str(path)} == set()


def test_nothing_starts_on_what_was_not_restored_to_its_end(deployment, shared_directory, empty):
    storage = {"STORAGE_DIRECTORY": shared_directory / f"backup-{uuid7()}"}
    made = created(deployment, storage)
    manifest, = [path for path in (storage["STORAGE_DIRECTORY"] / "cognive-backups" / "objects").rglob("*") if path.is_file() and "manifest" in path.name]
    changed = json.loads(manifest.read_text())
    next(table for table in changed["tables"] if table["name"] == "llm_calls")["checksum"] = "1"
    manifest.write_text(json.dumps(changed))
    url = empty()
    done = backup(deployment, storage, "restore", "--to", url)
    assert done.returncode == 1 and "Table llm_calls has other rows than were dumped." in done.stderr and f"restore of {made['id']} was not finished" in done.stderr
    refused = run_cognive("serve", env=clean_environment(DATABASE_URL=url, COGNIVE_MASTER_KEY=deployment.master_key, HTTP_PORT=0))
    assert refused.returncode == 1 and "was not finished" in refused.stderr + refused.stdout
    for words in (["create"], ["restore", "--to", url]):
        done = backup(deployment, storage, *words, DATABASE_URL=url)
        assert done.returncode == 1 and "was not finished" in done.stderr, words
    done = backup(deployment, storage, "restore", "--to", "")
    assert done.returncode != 0 and "--to" in done.stderr


def test_a_restore_that_is_killed_leaves_its_mark_and_no_program(deployment, ceph, empty):
    storage = ceph.settings() | {"STORAGE_BUCKET_PREFIX": f"{uuid7()[:13]}-"}
    created(deployment, storage)
    url = empty()
    with TcpProxy(ceph.port) as between:
        between.dribble(20_000)
        environment = deployment.environment(**storage | ceph.settings(between.port))
        command = subprocess.Popen([BINARY, "backup", "restore", "--to", url], env=clean_environment(**{name: str(value) for name, value in environment.items()}), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        database = url.rsplit("/", 1)[1]
        wait_until(lambda: deployment.primary.superuser("SELECT to_regclass('cognive_restore_unfinished') IS NOT NULL", database=database) == [(True,)], "it has begun", 30)
        programs = lambda: subprocess.run(["pgrep", "-f", f"pg_restore.*{database}"], capture_output=True, text=True, check=False).stdout.split()
        wait_until(programs, "pg_restore runs", 30)
        command.kill()
        command.wait()
    wait_until(lambda: not programs(), "pg_restore ends with it", 30)
    refused = run_cognive("serve", env=clean_environment(DATABASE_URL=url, COGNIVE_MASTER_KEY=deployment.master_key, HTTP_PORT=0))
    assert refused.returncode == 1 and "was not finished" in refused.stderr + refused.stdout


def test_uploads_that_nobody_ends_go_from_the_bucket(deployment, ceph):
    storage = ceph.settings() | {"STORAGE_BUCKET_PREFIX": f"{uuid7()[:13]}-"}
    created(deployment, storage)
    rules = ceph.request("GET", f"/{storage['STORAGE_BUCKET_PREFIX']}cognive-backups?lifecycle")
    assert "AbortIncompleteMultipartUpload" in rules and "<Expiration>" not in rules


def test_a_damaged_dump_is_told(deployment, shared_directory, empty):
    storage = {"STORAGE_DIRECTORY": shared_directory / f"backup-{uuid7()}"}
    created(deployment, storage)
    path, = [path for path in (storage["STORAGE_DIRECTORY"] / "cognive-backups" / "objects").rglob("*") if path.is_file() and "dump" in path.name]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = backup(deployment, storage, "restore", "--to", empty())
    assert done.returncode == 1 and ("pg_restore has failed" in done.stderr or "not what was written" in done.stderr), done.stderr


def test_what_breaks_off_is_no_backup(deployment, ceph):
    storage = ceph.settings() | {"STORAGE_BUCKET_PREFIX": f"{uuid7()[:13]}-"}
    created(deployment, storage)
    with TcpProxy(ceph.port) as between:
        between.dribble(5_000)
        command = subprocess.Popen([BINARY, "backup", "create"], env=clean_environment(**{name: str(value) for name, value in deployment.environment(**storage | ceph.settings(between.port)).items()}),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: "_multipart_" in ceph.admin("bucket", "list", f"--bucket={storage['STORAGE_BUCKET_PREFIX']}cognive-backups"), "it is being uploaded", 60)
        assert command.poll() is None
        command.kill()
        command.wait()
    assert len(json.loads(backup(deployment, storage, "list", "--json").stdout)) == 1
    done = backup(deployment, storage, "create", STORAGE_ENDPOINT="127.0.0.1:1")
    assert done.returncode == 1 and "nothing accepts connections" in done.stderr


def test_no_secret_is_in_a_command_line_or_a_message(deployment, shared_directory):
    storage = {"STORAGE_DIRECTORY": shared_directory / f"backup-{uuid7()}"}
    seen, ended = set(), threading.Event()

    def look():
        while not ended.is_set():
            for process in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{process}/cmdline", "rb") as line:
                        words = line.read().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if "pg_dump" in words:
                    seen.add(words)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(3):
            created(deployment, storage)
    finally:
        ended.set()
        watcher.join()
    password = deployment.primary.url.split("@")[0].rsplit(":", 1)[-1]
    assert seen and not any(password in words or "postgresql://" in words for words in seen), seen
