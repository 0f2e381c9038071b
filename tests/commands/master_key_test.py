"""The master key can be replaced while everything goes on, and nothing opens an installation but a master key of it."""

import hmac
import json
import secrets
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from deployment import Service
from installation import Installation, clean_environment, processes_in, run_cognive, uuid7, wait_until
from keyring import master_key_id, opened, root_key

URL = "https://hooks.example.com/a-secret-of-the-other-side"


@pytest.fixture(scope="module")
def one(shared_directory):
    """An installation whose master key is replaced."""
    running = Installation(shared_directory / "master-key").start()
    yield running
    assert running.stop() == 0
    assert not processes_in(running.directory)


def master_keys(installation):
    """What `list` tells, oldest first."""
    done = installation.cli("master-key", "list", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def with_master_key(installation, key, *arguments):
    """Run a command with another master key."""
    return run_cognive(*arguments, env=clean_environment(DATABASE_URL=installation.variables["DATABASE_URL"], COGNIVE_MASTER_KEY=key))


def test_everything_goes_on_under_another_master_key(one):
    person = one.person("admin")
    key = one.team_key("payments")
    channel = one.api().post("/api/v1/alert-channels", json={"kind": "webhook", "url": URL, "enabled": False}).json()
    root = root_key(one)
    old = (one.directory / "master-key").read_text().strip()
    fresh = one.directory / "new-master-key"
    added = one.cli("master-key", "add", "--file", fresh)
    assert added.returncode == 0, added.stderr
    new = fresh.read_text().strip()
    assert len(new) == 64 and stat.S_IMODE(fresh.stat().st_mode) == 0o600
    assert new not in added.stdout + added.stderr and f"master-key remove {master_key_id(old)}" in added.stdout
    assert [row["id"] for row in master_keys(one)] == [master_key_id(old), master_key_id(new)]
    again = one.cli("master-key", "add", "--file", fresh)
    assert again.returncode == 0 and "already" in again.stdout and len(master_keys(one)) == 2

    assert one.stop() == 0
    fresh.rename(one.directory / "master-key")
    one.start()
    assert root_key(one) == root and root not in (old.encode(), new.encode())
    assert one.api(key).get("/api/v1/auth/me").status_code == 200
    assert one.api(bearer=person.tokens["access_token"]).get("/api/v1/auth/me").status_code == 200
    assert one.api().post("/api/v1/auth/refresh", json={"refresh_token": person.tokens["refresh_token"]}).status_code == 200
    repeated = one.api().post("/api/v1/alert-channels", json={"id": channel["id"], "kind": "webhook", "url": URL, "enabled": False}).json()
    assert repeated["secret"] == channel["secret"] and repeated["url"] == URL
    one.api().agent()
    assert one.cli("audit", "verify").returncode == 0
    archive = one.directory / "audit-archive.jsonl"
    wait_until(lambda: master_key_id(new) in archive.read_text(), "the archive can be verified with the new master key", 20)
    for known in (old, new):
        assert with_master_key(one, known, "audit", "verify", "--from-archive", archive).returncode == 0

    refused = one.cli("master-key", "remove", master_key_id(old))
    assert refused.returncode == 1 and "A process has used it" in refused.stderr
    refused = one.cli("master-key", "remove", master_key_id(new))
    assert refused.returncode == 1 and "itself runs with" in refused.stderr
    refused = one.cli("master-key", "remove", "no-such-key")
    assert refused.returncode == 1 and "master-key list" in refused.stderr
    one.sql("UPDATE master_keys SET used_at = now() - interval '1 hour' WHERE id = %s", master_key_id(old))
    assert one.cli("master-key", "remove", master_key_id(old)).returncode == 0
    assert [row["id"] for row in master_keys(one)] == [master_key_id(new)]
    refused = with_master_key(one, old, "audit", "verify")
    assert refused.returncode == 1 and master_key_id(old) in refused.stderr and master_key_id(new) in refused.stderr and old not in refused.stderr
    actions = [entry["action"] for entry in one.api().get("/api/v1/audit-entries?resource_kind=master_key").json()["items"]]
    assert actions == ["master_key_remove", "master_key_add"]


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("worker",)], ids=lambda command: command[0])
def test_a_process_with_another_master_key_does_not_start(one, command):
    refused = with_master_key(one, secrets.token_hex(32), *command)
    assert refused.returncode == 1 and "is none of this installation" in refused.stderr


def test_a_root_key_that_is_gone_is_not_replaced(one):
    """A new one would leave every key, session and seal without what proves it."""
    kept = one.sql("SELECT id, sealed_root_key, created_at, used_at FROM master_keys")
    one.sql("DELETE FROM master_keys")
    try:
        refused = one.cli("keys", "create", "--name", "k")
        assert refused.returncode == 1 and "restore the table from a backup" in refused.stderr
        assert one.sql("SELECT count(*) FROM master_keys") == [(0,)]
    finally:
        for row in kept:
            one.sql("INSERT INTO master_keys VALUES (%s, %s, %s, %s)", *row)
    assert one.cli("audit", "verify").returncode == 0


def test_a_root_key_that_was_changed_is_told(one):
    one.sql("UPDATE master_keys SET sealed_root_key = set_byte(sealed_root_key, 20, 255 - get_byte(sealed_root_key, 20))")
    try:
        refused = one.cli("audit", "verify")
        assert refused.returncode == 1 and "is not what was stored there" in refused.stderr
    finally:
        one.sql("UPDATE master_keys SET sealed_root_key = set_byte(sealed_root_key, 20, 255 - get_byte(sealed_root_key, 20))")
    assert one.cli("audit", "verify").returncode == 0


def test_a_master_key_whose_row_was_changed_is_not_said_to_open_anything(one):
    file = one.directory / "a-third-master-key"
    assert one.cli("master-key", "add", "--file", file).returncode == 0
    third = master_key_id(file.read_text().strip())
    one.sql("UPDATE master_keys SET sealed_root_key = set_byte(sealed_root_key, 20, 255 - get_byte(sealed_root_key, 20)) WHERE id = %s", third)
    again = one.cli("master-key", "add", "--file", file)
    assert again.returncode == 1 and "is not what was stored there" in again.stderr
    # Nobody has used it.
    assert one.cli("master-key", "remove", third).returncode == 0


def test_a_process_that_runs_notes_that_its_master_key_is_in_use(one):
    one.sql("UPDATE master_keys SET used_at = now() - interval '1 day'")
    assert [row["in_use"] for row in master_keys(one)] == [False]
    assert one.stop() == 0
    one.start()
    wait_until(lambda: [row["in_use"] for row in master_keys(one)] == [True], "it is noted", 20)


def test_who_only_looks_makes_no_root_key(database):
    env = database.env | {"COGNIVE_MASTER_KEY": secrets.token_hex(32)}
    database.migrate("upgrade", "head")
    verified = run_cognive("audit", "verify", env=env)
    assert verified.returncode == 1 and "no root key yet" in verified.stderr
    assert run_cognive("keys", "list", env=env).returncode == 0 and run_cognive("users", "list", env=env).returncode == 0
    assert database.sql("SELECT count(*) FROM master_keys") == [(0,)]
    # Two first changes at once make one.
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: run_cognive("keys", "create", "--name", f"k{number}", env=env), range(4)))
    assert [one.returncode for one in made] == [0] * 4, made
    assert database.sql("SELECT count(*) FROM master_keys") == [(1,)]


def test_where_alerts_go_is_encrypted(one):
    """Also what was stored before it was."""
    channel = one.api().post("/api/v1/alert-channels", json={"kind": "webhook", "url": URL, "enabled": False}).json()["id"]

    def stored():
        return one.sql("SELECT target, sealed_target FROM alert_channels WHERE id = %s", channel)[0]

    target, sealed = stored()
    assert target is None and URL.encode() not in bytes(sealed)
    one.sql("UPDATE alert_channels SET target = %s, sealed_target = NULL WHERE id = %s", URL, channel)
    assert one.stop() == 0
    one.start()
    assert one.api().get(f"/api/v1/alert-channels/{channel}").json()["url"] == URL
    wait_until(lambda: stored()[0] is None, "it is encrypted", 30)
    assert one.api().get(f"/api/v1/alert-channels/{channel}").json()["url"] == URL
    assert one.api().patch(f"/api/v1/alert-channels/{channel}", json={"url": URL + "/2"}).json()["url"] == URL + "/2"
    # Of another channel it is none, and can be set anew.
    other = one.api().post("/api/v1/alert-channels", json={"kind": "webhook", "url": "https://hooks.example.com/", "enabled": False}).json()["id"]
    one.sql("UPDATE alert_channels SET sealed_target = (SELECT sealed_target FROM alert_channels WHERE id = %s) WHERE id = %s", channel, other)
    assert one.api().get(f"/api/v1/alert-channels/{other}").json()["url"] == ""
    assert {row["url"] for row in one.api().get("/api/v1/alert-channels").json()["items"]} >= {"", URL + "/2"}
    assert one.api().post(f"/api/v1/alert-channels/{other}/test").json()["delivered"] is False
    assert one.api().patch(f"/api/v1/alert-channels/{other}", json={"url": URL}).json()["url"] == URL
    one.sql("UPDATE alert_channels SET sealed_target = 'x' WHERE id = %s", other)
    assert one.api().delete(f"/api/v1/alert-channels/{other}").status_code == 200


def test_an_installation_from_before_root_keys_keeps_its_keys(database):
    """They followed from the master key itself, as the end of its audit trail tells."""
    master_key = secrets.token_hex(32)
    env = database.env | {"COGNIVE_MASTER_KEY": master_key}
    database.migrate("upgrade", "head")
    chain_id = hmac.digest(hmac.digest(master_key.encode(), b"cognive/audit-chain/1", "sha256"), b"cognive/audit-chain/id", "sha256")
    database.sql(f"ALTER TABLE audit_chain DISABLE TRIGGER USER; UPDATE audit_chain SET key_id = decode('{chain_id.hex()}', 'hex'); "
                 "ALTER TABLE audit_chain ENABLE TRIGGER USER")
    other = run_cognive("keys", "create", "--name", "k", env=env | {"COGNIVE_MASTER_KEY": secrets.token_hex(32)})
    assert other.returncode == 1 and "has been used: restore the table" in other.stderr
    made = run_cognive("keys", "create", "--name", "k", env=env)
    assert made.returncode == 0, made.stderr
    ((sealed,),) = database.sql("SELECT sealed_root_key FROM master_keys")
    assert opened(master_key, bytes(sealed)) == master_key.encode()
    secret = made.stdout.strip().rsplit("_", 1)[1]
    hashed = hmac.digest(hmac.digest(master_key.encode(), b"cognive/api-key-secrets/1", "sha256"), secret.encode(), "sha256")
    ((stored,),) = database.sql("SELECT secret_hash FROM api_keys")
    assert bytes(stored) == hashed


def test_an_installation_from_before_the_chain_keeps_its_keys(database):
    """Nothing in it tells under which master key it was made, but that there are keys."""
    master_key = secrets.token_hex(32)
    env = database.env | {"COGNIVE_MASTER_KEY": master_key}
    database.migrate("upgrade", "head")
    text = secrets.token_hex(21) + "x"
    hashed = hmac.digest(hmac.digest(master_key.encode(), b"cognive/api-key-secrets/1", "sha256"), text.encode(), "sha256")
    key_id = uuid7()
    database.sql(f"INSERT INTO api_keys (id, name, secret_hash, permissions) VALUES ('{key_id}', 'old', decode('{hashed.hex()}', 'hex'), ARRAY['*'])")
    service = Service(database.workplace / "served.log", env | {"HTTP_PORT": 0, "WORKER_IN_SERVER": "false"}, f"cgv_{key_id.replace('-', '')}_{text}").start()
    try:
        assert service.api().get("/api/v1/auth/me").status_code == 200
    finally:
        assert service.stop() == 0
    ((sealed,),) = database.sql("SELECT sealed_root_key FROM master_keys")
    assert opened(master_key, bytes(sealed)) == master_key.encode()


def test_the_root_key_is_not_lost_by_a_downgrade(database):
    env = database.env | {"COGNIVE_MASTER_KEY": secrets.token_hex(32)}
    database.migrate("upgrade", "head")
    assert run_cognive("keys", "create", "--name", "k", env=env).returncode == 0
    assert "root key" in database.migrate("downgrade", "20261129_0815_5f1b", status=1)
    assert database.sql("SELECT count(*) FROM master_keys") == [(1,)]
