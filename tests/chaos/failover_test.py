"""The running service follows the promoted replica by itself, and never writes to an old or second primary, in whatever order they appear."""

import re
import time

import pytest
from installation import uuid7, wait_until
from load import Load
from wire import check_problem

TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


def contents(node):
    """The number of rows of every table of a node."""
    tables = node.superuser(TABLES, database="cognive")
    return sorted(node.superuser(" UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for (name,) in tables), database="cognive"))


def writing(service, threads=3):
    """Agents made in the background."""
    clients = [service.api() for _ in range(threads)]
    return Load(lambda thread, _: clients[thread].post("/api/v1/agents", json={"name": f"load-{uuid7()}"}, timeout=20), threads)


def check_failures(load, since=0):
    """Whatever was not answered with success was answered with 503 and Retry-After."""
    for outcome in load.outcomes:
        if outcome.begin >= since and outcome.status != 201:
            check_problem(outcome.answer, 503)
            assert outcome.answer.headers["Retry-After"].isdigit()


def write_some(service, count=30):
    """Make agents, which must succeed; their ids."""
    api = service.api()
    return [api.agent()["id"] for _ in range(count)]


def host_of(service, deployment, node):
    """What the page says of a node that is not the primary."""
    return service.replica(deployment.url_of(node))


def old_is_outdated(service, deployment, node):
    """Tell whether the page knows that a node is an old primary; while it is taken for the primary, the page has no replica of its URL."""
    answer = service.health()
    states = {replica["url"].rsplit(":", 1)[1].split("/")[0]: replica["state"] for replica in answer.json()["replicas"]}
    return states.get(str(deployment.proxy_of(node).port)) == "outdated"


def primary_port(service):
    """The port of the primary, as the page has it."""
    return int(re.search(r":(\d+)/", service.health().json()["primary"]["url"])[1])


# --- following --------------------------------------------------------------------------------------------------------


def test_the_running_service_writes_to_the_promoted_replica_within_seconds(deployment):
    service = deployment.serve(DATABASE_PROBE_INTERVAL_MS=1000)
    service.wait_ok()
    new = deployment.replicas[0]
    with writing(service) as load:
        wait_until(lambda: load.statuses().get(201, 0) > 20, "writes under way", seconds=10)
        killed = time.monotonic()
        old = deployment.promote(new)
        promoted = time.monotonic()
        first = wait_until(lambda: load.first(201, promoted), "a write after the promotion", seconds=15)
        wait_until(lambda: load.statuses(first.end).get(201, 0) > 20, "writes go on", seconds=10)
    check_failures(load)
    print(f"\npromotion took {promoted - killed:.2f} s; first write answered {first.end - promoted:.2f} s after it; {load.statuses()}; "
          f"longest request {load.seconds_max():.2f} s")
    assert first.end - promoted < 4
    assert load.seconds_max() < 16
    assert service.metric("db_failovers_total") == 1
    assert service.metric("db_host_primary", host=deployment.label_of(new)) == 1
    assert primary_port(service) == deployment.proxy_of(new).port
    assert host_of(service, deployment, old)["state"] == "unreachable"
    # What it answered with success is there.
    acknowledged = {outcome.answer.json()["id"] for outcome in load.outcomes if outcome.status == 201 and outcome.begin > promoted}
    assert acknowledged <= {str(agent) for (agent,) in new.sql("SELECT id FROM agents")}


def test_reads_go_on_without_a_primary_and_from_the_new_one_after_it(deployment, service):
    agent = service.api().agent()["id"]
    deployment.wait_caught_up()
    wait_until(lambda: service.status() == "ok", "ok", seconds=10)
    new = deployment.replicas[0]
    client = service.api()
    with Load(lambda *_: client.get(f"/api/v1/agents/{agent}"), threads=1) as load:
        deployment.promote(new)
        promoted = time.monotonic()
        first = wait_until(lambda: load.first(200, promoted), "a read after the promotion", seconds=15)
        wait_until(lambda: load.statuses(first.end).get(200, 0) > 20, "reads go on", seconds=10)
    assert set(load.statuses()) <= {200, 503} and set(load.statuses(first.end)) == {200}
    print(f"\nfirst read answered {first.end - promoted:.2f} s after the promotion; {load.statuses()}")


def test_a_failover_back_and_forth_is_followed_each_time(deployment, service):
    for count in range(1, 3):
        old = deployment.promote(deployment.replicas[0])
        for node in deployment.replicas:
            if node is not old:
                node.follow(deployment.primary)
        old.reseed_from(deployment.primary)
        service.wait_writable()
        service.wait_ok()
        assert service.metric("db_failovers_total") == count
        assert primary_port(service) == deployment.proxy_of(deployment.primary).port


# --- old primaries ----------------------------------------------------------------------------------------------------


def test_an_old_primary_that_comes_back_is_outdated_and_gets_neither_writes_nor_reads(deployment, service):
    write_some(service)
    deployment.wait_caught_up()
    old = deployment.promote(deployment.replicas[0])
    service.wait_writable()
    old.start()
    before, reads_before = contents(old), service.metric("db_reads_total", host=deployment.label_of(old))
    with writing(service) as load:
        found = wait_until(lambda: (one := host_of(service, deployment, old))["state"] == "outdated" and one, "the old primary outdated", seconds=10)
        seen = time.monotonic()
        client = service.api()
        wait_until(lambda: client.get("/api/v1/agents").ok and load.statuses(seen).get(201, 0) > 50, "writes go on", seconds=15)
    check_failures(load)
    assert found["routed"] is False and "timeline" in found["not_routed_reason"]
    body = service.health().json()
    assert body["status"] == "degraded" and any(deployment.label_of(old) in problem and "old primary" in problem for problem in body["problems"])
    assert contents(old) == before
    assert service.metric("db_reads_total", host=deployment.label_of(old)) == reads_before
    assert service.metric("db_host_primary", host=deployment.label_of(old)) == 0


@pytest.mark.parametrize("delay", [0, 0.35])
def test_an_old_primary_that_is_back_before_anybody_has_looked_gets_no_write(deployment, delay):
    service = deployment.serve(DATABASE_PROBE_INTERVAL_MS=3000)
    service.wait_ok()
    write_some(service)
    deployment.wait_caught_up()
    new = deployment.replicas[0]
    old = deployment.promote(new)
    old.start()
    before = contents(old)
    # The new primary answers more slowly than the old one does.
    deployment.proxy_of(new).delay(delay)
    with writing(service, threads=6) as load:
        wait_until(lambda: old_is_outdated(service, deployment, old), "the old primary outdated", seconds=15)
        deployment.proxy_of(new).pass_through()
        wait_until(lambda: load.statuses().get(201, 0) > 30, "writes succeed", seconds=30)
    check_failures(load)
    assert contents(old) == before, f"written to the old primary: {load.statuses()}"


def test_a_service_that_starts_while_old_and_new_primary_are_up_writes_to_the_new_one(deployment, service):
    write_some(service)
    deployment.wait_caught_up()
    old = deployment.promote(deployment.replicas[0])
    old.start()
    before = contents(old)
    assert service.stop() == 0
    restarted = deployment.serve(named=old)
    write_some(restarted)
    assert primary_port(restarted) == deployment.proxy_of(deployment.primary).port
    assert host_of(restarted, deployment, old)["state"] == "outdated"
    assert contents(old) == before
    assert deployment.cli("keys", "create", "--name", "made by a command", named=old).returncode == 0
    assert contents(old) == before


def test_of_two_primaries_on_one_timeline_the_one_that_had_the_writes_keeps_them(deployment, service):
    first, second = deployment.replicas
    old = deployment.promote(first)
    service.wait_writable()
    second.promote()
    before = contents(second)
    found = wait_until(lambda: (one := host_of(service, deployment, second))["state"] == "outdated" and one, "the second primary is seen", seconds=10)
    assert found["routed"] is False
    write_some(service)
    assert contents(second) == before
    assert any("split brain" in problem for problem in service.health().json()["problems"])


def test_a_service_that_starts_between_two_primaries_believes_the_database_url(deployment):
    first, second = deployment.replicas
    deployment.promote(first)
    second.promote()
    before = contents(second)
    # And not the one that answers first; but within the second after which a host counts as silent, on a busy machine too.
    deployment.proxy_of(first).delay(0.02)
    service = deployment.serve(named=first)
    write_some(service, 5)
    assert contents(second) == before


def test_a_service_that_starts_between_two_primaries_that_the_database_url_does_not_name_writes_to_neither(deployment):
    first, second = deployment.replicas
    old = deployment.promote(first)
    second.promote()
    before = contents(first), contents(second)
    service = deployment.serve(named=old)
    answer = service.api().post("/api/v1/agents", json={"name": "never"})
    check_problem(answer, 503)
    assert "split brain" in service.health().text
    assert (contents(first), contents(second)) == before


def test_a_promoted_replica_that_nobody_asked_for_takes_the_writes_and_the_old_primary_is_left_alone(deployment, service):
    """Somebody promotes while the primary lives: there are two, and the later timeline has the writes."""
    write_some(service)
    deployment.wait_caught_up()
    with writing(service) as load:
        wait_until(lambda: load.statuses().get(201, 0) > 20, "writes under way", seconds=10)
        old = deployment.promote(deployment.replicas[0], kill=False)
        wait_until(lambda: primary_port(service) == deployment.proxy_of(deployment.primary).port, "the service follows", seconds=10)
        before = contents(old)
        since = time.monotonic()
        wait_until(lambda: load.statuses(since).get(201, 0) > 50, "writes go on", seconds=10)
        assert contents(old) == before
    check_failures(load)
    assert host_of(service, deployment, old)["state"] == "outdated"


# --- cognive replication promote --------------------------------------------------------------------------------------


def promote(deployment, node, *flags):
    """Run the command for a node."""
    return deployment.cli("replication", "promote", str(deployment.proxy_of(node).port), *flags)


def test_promote_is_refused_while_the_primary_answers_and_for_hosts_that_are_none(deployment):
    told = promote(deployment, deployment.replicas[0])
    assert told.returncode == 1 and "answers" in told.stderr and "--force" in told.stderr
    told = promote(deployment, deployment.primary)
    assert told.returncode == 1 and "no standby" in told.stderr
    told = deployment.cli("replication", "promote", "db-9")
    assert told.returncode == 1 and "db-9" in told.stderr
    for node in deployment.nodes:
        assert deployment.label_of(node) in told.stderr
    assert [node.is_in_recovery() for node in deployment.nodes].count(False) == 1


def test_promote_refuses_the_replica_that_has_less_and_takes_the_one_that_has_most(deployment, service):
    less, most = deployment.replicas
    less.stop()
    ids = write_some(service, 5)
    most.wait_caught_up()
    deployment.primary.kill()
    less.start()
    told = promote(deployment, less)
    assert told.returncode == 1 and "behind" in told.stderr and deployment.label_of(most) in told.stderr and "--force" in told.stderr
    assert less.is_in_recovery()
    told = promote(deployment, most)
    assert told.returncode == 0, told.stderr
    assert "has been promoted" in told.stdout and not most.is_in_recovery()
    deployment.primary = most
    service.wait_writable()
    assert set(ids) <= {str(agent) for (agent,) in most.sql("SELECT id FROM agents")}


def test_promote_of_a_paused_replica_is_refused_and_forced_it_loses_nothing_that_was_received(deployment, service):
    paused = deployment.replicas[0]
    paused.pause_replay()
    ids = write_some(service, 5)
    wait_until(lambda: paused.received_lsn() >= deployment.primary.wal_lsn(), "everything received", seconds=10)
    deployment.primary.kill()
    told = promote(deployment, paused)
    assert told.returncode == 1 and "paused" in told.stderr and "--force" in told.stderr
    assert paused.is_in_recovery()
    told = promote(deployment, paused, "--force")
    assert told.returncode == 0, told.stderr
    deployment.primary = paused
    service.wait_writable()
    assert set(ids) <= {str(agent) for (agent,) in paused.sql("SELECT id FROM agents")}


def test_promote_without_the_right_says_which_grant_is_missing(deployment):
    function = "FUNCTION pg_promote(boolean, integer)"
    deployment.primary.superuser(f"REVOKE EXECUTE ON {function} FROM cognive", database="cognive")
    deployment.wait_caught_up()
    deployment.primary.kill()
    try:
        told = promote(deployment, deployment.replicas[0])
        assert told.returncode == 1 and f"GRANT EXECUTE ON {function}" in told.stderr.replace("\n", " ") and "pg_ctl promote" in told.stderr
        assert deployment.replicas[0].is_in_recovery()
    finally:
        deployment.primary.start()
        deployment.primary.superuser(f"GRANT EXECUTE ON {function} TO cognive", database="cognive")
