"""The audit trail: who changed what, whom it is shown, and that nobody changes it unnoticed."""

import concurrent.futures
import contextlib
import hashlib
import hmac
import json

import psycopg2
import pytest

from installation import Installation, clean_environment, processes_in, run_cognive, uuid7, wait_until
from keyring import root_key
from problems import check_problem
from workers import Worker


def entries(api, **filters):
    """What is listed, newest first."""
    return api.get("/api/v1/audit-entries", params=filters).json()["items"]


def test_a_change_is_recorded_with_who_and_what(installation, api):
    request_id = "r-" + uuid7()
    agent = api.post("/api/v1/agents", json={"name": "a-" + uuid7()}, headers={"X-Request-ID": request_id}).json()
    api.patch(f"/api/v1/agents/{agent['id']}", json={"version": "2"})
    updated, created = entries(api, resource_id=agent["id"])
    assert created["action"] == "agent_create" and created["resource_kind"] == "agent" and created["request_id"] == request_id
    assert created["actor_kind"] == "api_key" and created["actor_id"] and created["team_id"] == agent["team_id"]
    assert updated["action"] == "agent_update" and "version" in json.dumps(updated["details"]) and updated["sequence"] > created["sequence"]


def test_it_can_be_filtered_and_read_page_by_page(installation, api):
    agents = [api.agent()["id"] for _ in range(5)]
    found, cursor = [], None
    while True:
        page = api.get("/api/v1/audit-entries", params={"action": "agent_create", "limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if not cursor or len(found) > 20:
            break
    assert {one["resource_id"] for one in found} >= set(agents) and {one["action"] for one in found} == {"agent_create"}
    newest = found[0]
    assert [one["id"] for one in entries(api, actor_id=newest["actor_id"], limit=1)] == [newest["id"]]
    assert entries(api, **{"from": "2100-01-01T00:00:00Z"}) == [] and entries(api, to="2000-01-01T00:00:00Z") == []
    assert entries(api, resource_kind="no such kind") == [] and entries(api, team_id=uuid7()) == []


def test_a_team_sees_its_own_entries_only(installation, api):
    name = "t-" + uuid7()
    team = installation.api(installation.team_key(name))
    own, foreign = team.agent()["id"], api.agent()["id"]
    seen = {one["resource_id"] for one in entries(team)}
    assert own in seen and foreign not in seen
    assert entries(team, resource_id=foreign) == []


def test_who_may_not_read_it_does_not(installation):
    key = installation.cli("keys", "create", "--name", "k", "--permission", "agents:read").stdout.strip()
    check_problem(installation.api(key).get("/api/v1/audit-entries"), 403)


# Tampering. Each is done by the owner of the tables, behind the back of the service.


@pytest.fixture(scope="module")
def kept(shared_directory):
    """An installation with some entries, for tampering with."""
    one = Installation(shared_directory / "audit-trail").start()
    api = one.api()
    for _ in range(6):
        api.agent()
    yield one
    assert one.stop() == 0
    assert not processes_in(one.directory)


@contextlib.contextmanager
def tampering(installation):
    """A cursor of somebody who has disabled the trigger; what was done is undone afterwards."""
    with contextlib.closing(psycopg2.connect(installation.variables["DATABASE_URL"])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for table in ("audit_logs", "audit_chain"):
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            cursor.execute("CREATE TABLE kept_logs AS TABLE audit_logs")
            cursor.execute("CREATE TABLE kept_chain AS TABLE audit_chain")
            try:
                yield cursor
            finally:
                cursor.execute("TRUNCATE audit_logs, audit_chain")
                cursor.execute("INSERT INTO audit_logs TABLE kept_logs")
                cursor.execute("INSERT INTO audit_chain TABLE kept_chain")
                cursor.execute("DROP TABLE kept_logs, kept_chain")
                for table in ("audit_logs", "audit_chain"):
                    cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def verdict(installation, archive=True):
    """What `cognive audit verify` finds broken; nothing when nothing is. Without the archive the chain alone tells."""
    names = ("DATABASE_URL", "COGNIVE_MASTER_KEY_FILE", *(["AUDIT_ARCHIVE_FILE"] if archive else []))
    done = run_cognive("audit", "verify", "--json", env=clean_environment(**{name: installation.variables[name] for name in names}))
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["intact"] else 3)
    return found["broken"]


def rebuild(cursor, root):
    """Seals the whole trail again, as somebody would who knows how it is done."""
    key = hmac.digest(root, b"cognive/audit-chain/1", "sha256")
    seal = hashlib.sha256(b"").digest()
    cursor.execute("SELECT sequence, id::text, (extract(epoch FROM occurred_at) * 1000000)::bigint, actor_kind, actor_id::text, action, resource_kind, "
                   "resource_id, team_id::text, request_id, details::text FROM audit_logs ORDER BY sequence")
    for entry in cursor.fetchall():
        said = json.dumps([seal.hex(), *entry], separators=(",", ":"), ensure_ascii=False)
        seal = hmac.digest(key, said.encode(), "sha256")
        cursor.execute("UPDATE audit_logs SET seal = %s WHERE sequence = %s", (seal, entry[0]))
    cursor.execute("UPDATE audit_chain SET seal = %s", (seal,))


SWAP = "UPDATE audit_logs SET sequence = CASE sequence WHEN 4 THEN 5 ELSE 4 END WHERE sequence IN (4, 5)"
TAMPERING = {
    "an edited action": ("UPDATE audit_logs SET action = 'agent_archive' WHERE sequence = 5", 5),
    "an edited detail": ("UPDATE audit_logs SET details = '{\"a\":1}' WHERE sequence = 6", 6),
    "a blank in a detail": ("UPDATE audit_logs SET details = (details::text || ' ')::json WHERE sequence = 6", 6),
    "another time": ("UPDATE audit_logs SET occurred_at = occurred_at + interval '1 microsecond' WHERE sequence = 2", 2),
    "another actor": ("UPDATE audit_logs SET actor_id = gen_random_uuid() WHERE sequence = 4", 4),
    "a team that was none": ("UPDATE audit_logs SET team_id = gen_random_uuid() WHERE sequence = 1", 1),
    "another seal": ("UPDATE audit_logs SET seal = sha256('x') WHERE sequence = 3", 3),
    "a deleted entry": ("DELETE FROM audit_logs WHERE sequence = 4", 4),
    "several deleted entries": ("DELETE FROM audit_logs WHERE sequence BETWEEN 3 AND 6", 3),
    "the first entry deleted": ("DELETE FROM audit_logs WHERE sequence = 1", 1),
    "a deleted entry, and the rest moved up": ("DELETE FROM audit_logs WHERE sequence = 4; UPDATE audit_logs SET sequence = sequence + 1000000 WHERE sequence > 4; "
                                               "UPDATE audit_logs SET sequence = sequence - 1000001 WHERE sequence > 1000000", 4),
    "an entry before the first": ("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_seal_check; INSERT INTO audit_logs (id, actor_kind, action, resource_kind, "
                                  "resource_id, sequence, seal) VALUES (gen_random_uuid(), 'operator', 'x', 'x', 'x', -5, sha256('x'))", -5),
    "no seal": ("ALTER TABLE audit_logs DROP CONSTRAINT IF EXISTS audit_logs_seal_check; UPDATE audit_logs SET seal = NULL WHERE sequence = 5", 5),
    "two in another order": ("ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_sequence_key; " + SWAP + "; "
                             "ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_sequence_key UNIQUE (sequence)", 4),
    "an entry from before the chain": ("INSERT INTO audit_logs (id, actor_kind, action, resource_kind, resource_id) "
                                       "VALUES (gen_random_uuid(), 'operator', 'x', 'x', 'x')", 1),
    "an entry behind the end": ("INSERT INTO audit_logs (id, actor_kind, action, resource_kind, resource_id, sequence, seal) "
                                "VALUES (gen_random_uuid(), 'operator', 'x', 'x', 'x', 100000, sha256('x'))", 100000),
    "the end set back": ("UPDATE audit_chain SET sequence = sequence - 1", "last"),
    "the last entry deleted": ("DELETE FROM audit_logs WHERE sequence = (SELECT sequence FROM audit_chain)", "last"),
    "everything deleted": ("TRUNCATE audit_logs", 1),
    "the end deleted": ("DELETE FROM audit_chain", 1),
}


@pytest.mark.parametrize("what", TAMPERING, ids=lambda what: what.replace(" ", "-"))
def test_tampering_is_found_where_it_begins(kept, what):
    statements, place = TAMPERING[what]
    last = kept.sql("SELECT sequence FROM audit_chain")[0][0]
    assert verdict(kept) is None
    with tampering(kept) as cursor:
        for statement in statements.split("; "):
            cursor.execute(statement)
        assert verdict(kept)["sequence"] == (last if place == "last" else place)
    assert verdict(kept) is None


def test_a_chain_that_is_rebuilt_without_the_key_is_none(kept):
    with tampering(kept) as cursor:
        cursor.execute("UPDATE audit_logs SET action = 'agent_archive' WHERE sequence = 5")
        rebuild(cursor, b"a guess")
        assert verdict(kept)["sequence"] == 1
        # With the key it is one: that is what a guess lacks.
        rebuild(cursor, root_key(kept))
        assert verdict(kept, archive=False) is None


def test_a_process_with_another_master_key_records_nothing(kept):
    """One entry under another key would break the chain for good."""
    env = clean_environment(DATABASE_URL=kept.variables["DATABASE_URL"], COGNIVE_MASTER_KEY="another" * 8)
    refused = run_cognive("keys", "create", "--name", "k", env=env)
    assert refused.returncode == 1 and "is none of this installation" in refused.stderr
    verified = run_cognive("audit", "verify", env=env)
    assert verified.returncode == 1 and "is none of this installation" in verified.stderr and "tampered" not in verified.stdout
    assert verdict(kept) is None


def test_whoever_is_older_than_the_chain_fails_instead_of_writing_beside_it(kept):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="without a seal"):
        kept.sql("INSERT INTO audit_logs (id, actor_kind, action, resource_kind, resource_id) VALUES (gen_random_uuid(), 'operator', 'x', 'x', 'x')")


@pytest.mark.parametrize("statement", ["DELETE FROM audit_chain", "TRUNCATE audit_chain", "UPDATE audit_chain SET sequence = sequence - 1"],
                         ids=["delete", "truncate", "set-back"])
def test_the_database_refuses_to_set_the_chain_back(kept, statement):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        kept.sql(statement)


# The archive.


def archived(installation):
    """The lines of the archive; none before the first look."""
    archive = installation.directory / "audit-archive.jsonl"
    return [json.loads(line) for line in archive.read_text().splitlines()] if archive.exists() else []


def test_the_trail_leaves_the_database_with_signed_checkpoints(shared_directory):
    one = Installation(shared_directory / "audit-archive").start()
    one.api().agent()
    assert one.stop() == 0
    one.start()  # it is archived at once
    lines = wait_until(lambda: [line for line in archived(one) if "entry" in line and line["entry"]["action"] == "agent_create"] and archived(one), "it is archived", 20)
    assert "master_key" in lines[0] and lines[1]["checkpoint"] == 0 and lines[-1]["checkpoint"] == sum("entry" in line for line in lines)
    archive = one.directory / "audit-archive.jsonl"
    assert one.cli("audit", "verify").returncode == 0
    assert one.cli("audit", "verify", "--from-archive", archive).returncode == 0
    # Offline, and each way to change it.
    text = archive.read_text()
    env = clean_environment(COGNIVE_MASTER_KEY_FILE=one.variables["COGNIVE_MASTER_KEY_FILE"])
    copy = shared_directory / "copy.jsonl"

    def found(changed):
        copy.write_text(changed)
        return run_cognive("audit", "verify", "--json", "--from-archive", copy, env=env)

    assert found(text).returncode == 0
    rows = text.splitlines(keepends=True)
    for changed in (text.replace("agent_create", "agent_delete"), "".join(rows[:1] + rows[2:]), "".join(rows[:2] + rows[3:]), "".join(rows[1:]),
                    "".join(rows[:-1]) + rows[-1].replace('"checkpoint":', '"checkpoint":1')):
        assert found(changed).returncode == 3 and not json.loads(found(changed).stdout)["intact"]
    copy.write_text("")
    for nothing in (copy, shared_directory, shared_directory / "no-such-file"):
        done = run_cognive("audit", "verify", "--from-archive", nothing, env=env)
        assert done.returncode == 1 and "holds no archive" in done.stderr + done.stdout or "cannot be read" in done.stderr
    done = run_cognive("audit", "verify", env=clean_environment(**{name: one.variables[name] for name in ("DATABASE_URL", "COGNIVE_MASTER_KEY_FILE")}, AUDIT_ARCHIVE_FILE="/no/such/file"))
    assert done.returncode == 1 and "/no/such/file" in done.stderr, "nothing was compared"
    # The end is cut off the database, and its chain set back as if nothing had been: the archive knows better.
    with tampering(one) as cursor:
        cursor.execute("DELETE FROM audit_logs WHERE sequence > 2")
        cursor.execute("UPDATE audit_chain SET sequence = 2, seal = (SELECT seal FROM audit_logs WHERE sequence = 2)")
        assert verdict(one)["sequence"] == 3
    assert verdict(one) is None
    assert one.stop() == 0


def test_two_processes_may_have_one_archive(shared_directory):
    one = Installation(shared_directory / "shared-archive").start()
    archive = one.directory / "audit-archive.jsonl"

    def archives(agent):
        """The trail up to the making of an agent is there, and whole."""
        return agent["id"] in archive.read_text() and one.cli("audit", "verify", "--from-archive", archive).returncode == 0

    variables = {name: one.variables[name] for name in ("DATABASE_URL", "COGNIVE_MASTER_KEY_FILE", "AUDIT_ARCHIVE_FILE")}
    wait_until(lambda: archive.exists() and archive.stat().st_size, "it is begun", 20)
    for _ in range(2):
        first = one.api().agent()
        with Worker(shared_directory, **variables):
            wait_until(lambda: archives(first), "the worker extends it", 20)
            # Cut off in the middle of a line, as by a full disk.
            with open(archive, "a") as torn:
                torn.write('{"entry":{"sequence":')
            second = one.api().agent()
            assert one.stop() == 0
            one.start()
            wait_until(lambda: archives(second), "the server extends it again", 20)
    assert one.cli("audit", "verify").returncode == 0
    assert one.stop() == 0


@pytest.mark.parametrize("statement", ["UPDATE audit_logs SET action = 'x'", "DELETE FROM audit_logs", "TRUNCATE audit_logs"], ids=["update", "delete", "truncate"])
def test_the_database_refuses_to_change_the_trail(kept, statement):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="append-only"):
        kept.sql(statement)


def test_whoever_changes_things_at_the_same_time_is_recorded_in_one_chain(kept):
    before = kept.sql("SELECT sequence FROM audit_chain")[0][0]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        agents = list(pool.map(lambda _: kept.api().agent()["id"], range(40)))
    recorded = kept.sql("SELECT count(*) FROM audit_logs WHERE resource_id = ANY (%s)", agents)[0][0]
    assert recorded == 40 and kept.sql("SELECT sequence FROM audit_chain")[0][0] == before + 40
    assert verdict(kept) is None
