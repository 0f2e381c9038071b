"""The replication page, its metrics and `cognive replication status` tell the truth about every host, whatever has happened to it."""

import json
import math
import os
import re
import signal
import time

import pytest
from deployment import PROBE_MS
from installation import wait_until
from wire import check_problem

LAG_MAX_MS = 5_000  # DATABASE_MAX_REPLICA_LAG_MS unless set

LONG = os.environ.get("COGNIVE_LONG") == "1"
SEED_FIELDS = {"url", "in_recovery", "lag_ms"}


def write(service):
    """Write something; the time of it."""
    service.api().agent()
    return time.monotonic()


def bytes_of(lsn):
    """A log position as a number."""
    high, low = (int(half, 16) for half in lsn.split("/"))
    return (high << 32) + low


def lags(service):
    """The lag of every replica, in milliseconds."""
    return [each["lag_ms"] for each in service.health().json()["replicas"]]


# --- all is well ------------------------------------------------------------------------------------------------------


def test_the_page_has_a_primary_and_two_replicas_that_are_read(deployment, service):
    answer = service.health()
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok" and body["primary_in_recovery"] is False and body["problems"] == []
    assert body["primary"]["state"] == "primary" and body["primary"]["in_recovery"] is False and body["primary"]["error"] is None
    assert len(body["replicas"]) == 2
    for node, replica in zip(deployment.replicas, body["replicas"]):
        assert replica.keys() >= SEED_FIELDS
        assert replica["url"] == deployment.url_of(node).replace(deployment.cluster.password, "***")
        assert replica["state"] == "streaming" and replica["in_recovery"] is True and replica["routed"] is True
        assert replica["not_routed_reason"] is None and replica["timeline"] == body["primary"]["timeline"]
        assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", replica["receive_lsn"]) and re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", replica["replay_lsn"])


def test_an_idle_cluster_lags_by_nothing_however_long_ago_the_last_write_was(deployment, service):
    written = write(service)
    deployment.wait_caught_up()
    seen = []

    def idle_long_enough():
        if time.monotonic() - written > 1:
            seen.extend(lags(service))
        return time.monotonic() - written > (25 if LONG else 4)

    wait_until(idle_long_enough, "the idle time", seconds=30)
    # The server itself writes a few bytes now and then, which are seen to be replayed at the next look.
    assert max(seen) <= 2 * PROBE_MS
    assert seen.count(0) > 0.8 * len(seen)


def test_a_replica_is_watched_and_read_again_at_the_default_interval(deployment):
    service = deployment.serve(DATABASE_PROBE_INTERVAL_MS=1000)
    service.wait_ok()
    node = deployment.replicas[0]
    deployment.proxy_of(node).stall()
    stalled = time.monotonic()
    wait_until(lambda: service.replica(deployment.url_of(node))["state"] == "unreachable", "the stalled replica unreachable", seconds=10)
    noticed = time.monotonic() - stalled
    assert service.status() == "degraded"
    deployment.proxy_of(node).pass_through()
    mended = time.monotonic()
    service.wait_ok(seconds=10)
    print(f"\na stalled replica is noticed in {noticed:.1f} s and read again {time.monotonic() - mended:.1f} s after it answers")
    assert noticed < 3.5


# --- replicas ---------------------------------------------------------------------------------------------------------


def test_a_paused_replica_shows_its_true_growing_lag_and_is_not_read_beyond_the_limit(deployment):
    service = deployment.serve(DATABASE_MAX_REPLICA_LAG_MS=1500)
    service.wait_ok()
    one, two = deployment.replicas
    one.pause_replay()
    written = write(service)
    seen = []

    def over_the_limit():
        before, replica, after = time.monotonic(), service.replica(deployment.url_of(one)), time.monotonic()
        assert replica["state"] == "paused" or (replica["lag_ms"] or 0) <= 2 * PROBE_MS
        if replica["lag_ms"]:
            seen.append(replica["lag_ms"])
            assert before - written - 2 * PROBE_MS / 1000 - 0.3 <= replica["lag_ms"] / 1000 <= after - written + PROBE_MS / 1000 + 0.3
            assert replica["lag_bytes"] > 0
            assert replica["routed"] == (replica["lag_ms"] <= 1500)
        return not replica["routed"] and replica

    replica = wait_until(over_the_limit, "the paused replica over the limit", seconds=10)
    assert re.fullmatch(r"it is \d+ ms behind, the limit is 1500 ms", replica["not_routed_reason"])
    assert seen == sorted(seen) and len(seen) > 3
    assert bytes_of(replica["receive_lsn"]) > bytes_of(replica["replay_lsn"])
    assert service.status() == "degraded"
    assert service.replica(deployment.url_of(two))["routed"] is True
    one.resume_replay()
    service.wait_ok(seconds=10)
    assert service.replica(deployment.url_of(one))["lag_ms"] <= 2 * PROBE_MS


def test_a_replica_whose_receiver_hangs_shows_lag_although_it_looks_connected(deployment):
    service = deployment.serve(DATABASE_MAX_REPLICA_LAG_MS=1000)
    service.wait_ok()
    node = deployment.replicas[0]
    [(receiver,)] = node.superuser("SELECT pid FROM pg_stat_wal_receiver")
    os.kill(receiver, signal.SIGSTOP)
    try:
        write(service)
        replica = wait_until(lambda: not (one := service.replica(deployment.url_of(node)))["routed"] and one, "the replica not read", seconds=10)
        assert replica["state"] == "streaming" and replica["lag_ms"] > 1000 and "behind" in replica["not_routed_reason"]
    finally:
        os.kill(receiver, signal.SIGCONT)
    service.wait_ok(seconds=10)


def test_a_replica_that_receives_nothing_is_disconnected_and_not_read(deployment, service):
    node = deployment.replicas[0]
    [(upstream,)] = node.superuser("SHOW primary_conninfo")
    node.superuser("ALTER SYSTEM SET primary_conninfo = ''")
    node.superuser("SELECT pg_reload_conf()")
    try:
        replica = wait_until(lambda: (one := service.replica(deployment.url_of(node)))["state"] == "disconnected" and one, "disconnected", seconds=10)
        assert replica["routed"] is False and replica["not_routed_reason"] and service.status() == "degraded"
    finally:
        node.superuser(f"ALTER SYSTEM SET primary_conninfo = '{upstream}'")
        node.superuser("SELECT pg_reload_conf()")
    node.wait_streaming()
    service.wait_ok()


@pytest.mark.parametrize("fault", ["killed", "stalled", "frozen"])
def test_a_replica_that_is_gone_is_unreachable_and_its_lag_unknown(deployment, service, fault):
    node, other = deployment.replicas
    broken = {"killed": node.kill, "stalled": deployment.proxy_of(node).stall, "frozen": node.freeze}
    broken[fault]()
    begin = time.monotonic()
    replica = wait_until(lambda: (one := service.replica(deployment.url_of(node)))["state"] == "unreachable" and one, "unreachable", seconds=10)
    noticed = time.monotonic() - begin
    assert replica["lag_ms"] is None and replica["lag_bytes"] is None and replica["replay_lsn"] is None
    assert replica["routed"] is False and replica["in_recovery"] is False
    assert replica["not_routed_reason"].startswith("it does not answer: ")
    assert service.status() == "degraded"
    assert service.replica(deployment.url_of(other))["routed"] is True
    assert math.isnan(service.metric("db_replica_lag_seconds", host=deployment.label_of(node)))
    deployment.end_faults()
    if fault == "killed":
        node.start()
    service.wait_ok()
    print(f"\na replica that is {fault} is noticed in {noticed:.1f} s")
    assert noticed < 3.5


# --- the primary ------------------------------------------------------------------------------------------------------


def test_a_lost_primary_is_503_and_the_answer_still_tells_how_far_each_replica_is(deployment, service):
    written = write(service)
    deployment.primary.kill()
    [answer] = wait_until(lambda: (one := service.health()).status_code == 503 and [one], "the page says so", seconds=5)
    noticed = time.monotonic() - written
    body = check_problem(answer, 503)
    assert answer.headers["Retry-After"].isdigit()
    assert deployment.label_of(deployment.primary) in body["detail"] and body["problems"]
    assert body["primary"]["state"] == "unreachable" and body["primary"]["error"]
    for node, replica in zip(deployment.replicas, body["replicas"]):
        assert replica["state"] in ("streaming", "disconnected") and replica["in_recovery"] is True
        assert replica["routed"] is False and replica["lag_ms"] is None and replica["not_routed_reason"]
        wait_until(lambda: bytes_of(service.replica(deployment.url_of(node))["receive_lsn"]) == node.received_lsn(), "the replica's true position", seconds=2)
    assert service.readiness().status_code == 503
    assert service.api().get("/api/v1/health/liveness").status_code == 200
    deployment.primary.start()
    service.wait_ok()
    print(f"\na killed primary is noticed in {noticed:.1f} s")


def test_a_service_that_knows_a_standby_only_is_degraded_and_writes_nothing(deployment):
    standby = deployment.replicas[0]
    service = deployment.serve(named=standby, DATABASE_READ_URLS="")
    body = wait_until(lambda: (answer := service.health()).status_code == 200 and answer.json(), "the page", seconds=5)
    assert body["status"] == "degraded" and body["primary_in_recovery"] is True and body["problems"]
    assert body["primary"]["in_recovery"] is True and body["primary"]["state"] != "primary"
    answer = service.api().post("/api/v1/agents", json={"name": "never"})
    check_problem(answer, 503)
    assert answer.headers["Retry-After"].isdigit()


def test_the_order_in_which_hosts_are_named_does_not_matter(deployment):
    service = deployment.serve(named=deployment.replicas[0])
    service.wait_ok()
    assert service.health().json()["primary"]["url"].endswith(f":{deployment.proxy_of(deployment.primary).port}/cognive")
    assert service.api().agent()["id"]


# --- agreement --------------------------------------------------------------------------------------------------------


def test_the_metrics_say_what_the_page_says(deployment, service):
    one, two = deployment.replicas
    one.kill()
    two.pause_replay()
    write(service)
    wait_until(lambda: service.replica(deployment.url_of(two))["lag_ms"] and service.replica(deployment.url_of(one))["state"] == "unreachable",
               "both faults on the page", seconds=10)
    page = service.health().json()
    label_one, label_two, label_primary = map(deployment.label_of, (one, two, deployment.primary))
    assert [service.metric("db_host_up", host=host) for host in (label_primary, label_one, label_two)] == [1, 0, 1]
    assert [service.metric("db_host_primary", host=host) for host in (label_primary, label_one, label_two)] == [1, 0, 0]
    assert [service.metric("db_replica_routed", host=host) for host in (label_primary, label_one, label_two)] == [0, 0, 1]
    assert service.metric("db_host_timeline", host=label_two) == page["primary"]["timeline"]
    assert service.metric("db_host_timeline", host=label_one) == 0
    # A paused replica's lag only grows: what the metric says lies between what the page said before and after it.
    seconds = service.metric("db_replica_lag_seconds", host=label_two)
    assert page["replicas"][1]["lag_ms"] / 1000 <= seconds <= service.health().json()["replicas"][1]["lag_ms"] / 1000
    # Background work writes now and then.
    wait_until(lambda: service.metric("db_replica_lag_bytes", host=label_two) == service.health().json()["replicas"][1]["lag_bytes"],
               "the metric says what the page says", seconds=10)
    assert math.isnan(service.metric("db_replica_lag_bytes", host=label_one))
    assert service.metric("db_failovers_total") == 0
    two.resume_replay()
    one.start()
    service.wait_ok()


def test_the_command_says_what_the_page_says(deployment, service):
    deployment.replicas[0].kill()
    wait_until(lambda: service.status() == "degraded", "degraded", seconds=5)
    told = deployment.cli("replication", "status", "--json")
    assert told.returncode == 0, told.stderr
    ours, theirs = json.loads(told.stdout), service.health().json()
    for moving in ("lsn", "error"):
        ours["primary"].pop(moving), theirs["primary"].pop(moving)
    for replica in (*ours["replicas"], *theirs["replicas"]):
        for moving in ("receive_lsn", "replay_lsn", "lag_bytes", "not_routed_reason"):
            replica.pop(moving)
        # What is written while we look may not have been replayed; how long that takes is the machine's affair.
        assert not replica["routed"] or replica.pop("lag_ms") <= LAG_MAX_MS
    for page in (ours, theirs):  # which words a broken connection ends with is a matter of moments
        page["problems"] = [problem.split(" failed: ")[0] for problem in page["problems"]]
    assert ours == theirs
    table = deployment.cli("replication", "status")
    assert table.returncode == 0, table.stderr
    rows = {line.split()[0]: line for line in table.stdout.splitlines() if line.startswith("127.0.0.1")}
    one, two = map(deployment.label_of, deployment.replicas)
    assert "unreachable" in rows[one] and "no: it does not answer" in rows[one]
    assert "streaming" in rows[two] and rows[two].rstrip().endswith("yes")
    assert "primary" in rows[deployment.label_of(deployment.primary)]
    deployment.primary.kill()
    assert deployment.cli("replication", "status").returncode == 1
    deployment.primary.start()


def test_no_password_is_shown_anywhere(deployment, service):
    secrets = (deployment.cluster.password, deployment.master_key)
    shown = [service.health().text, service.readiness().text, service.api().get("/metrics").text]
    deployment.primary.kill()
    deployment.proxy_of(deployment.replicas[0]).refuse()
    wait_until(lambda: service.health().status_code == 503, "the page says so", seconds=5)
    shown += [service.health().text, service.readiness().text, service.api().get("/metrics").text, service.api().get("/api/v1/agents").text]
    for arguments in (("replication", "status"), ("replication", "status", "--json"), ("replication", "promote", "nobody")):
        told = deployment.cli(*arguments)
        shown += [told.stdout, told.stderr]
    shown.append(service.log_text())
    for text in shown:
        assert text is not None and not any(secret in text for secret in secrets)
    deployment.primary.start()
