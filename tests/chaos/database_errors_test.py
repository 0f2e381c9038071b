"""Each way in which the primary can be unable to serve is named within the deadline, and the service heals by itself when it ends."""

import contextlib
import random
import time

import psycopg2
import pytest
from installation import llm_call, uuid7, wait_until
from load import Load
from wire import check_problem


def failing(service, words, seconds=10):
    """Wait until readiness says what is wrong; the time since then. It answers within two seconds all the while."""
    def named():
        begin = time.monotonic()
        answer = service.readiness()
        assert time.monotonic() - begin < 2.5
        return answer.status_code == 503 and words in check_problem(answer, 503)["detail"]

    wait_until(named, f"readiness says: {words}", seconds)


def check_write_refused(service):
    """A write is answered with 503 within the deadline."""
    begin = time.monotonic()
    answer = service.api().post("/api/v1/agents", json={"name": "never"}, timeout=30)
    check_problem(answer, 503)
    assert answer.headers["Retry-After"].isdigit()
    return time.monotonic() - begin


def heal(service, what, begin):
    """Wait until writes succeed again, and print how long it took."""
    service.wait_writable()
    print(f"\n{what}: writes succeed {time.monotonic() - begin:.2f} s after the end of the fault")
    wait_until(lambda: service.readiness().status_code == 200, "ready", seconds=5)
    service.wait_ok()


def test_a_primary_that_is_starting_up_is_named_and_served_as_soon_as_it_is_up(deployment, service):
    deployment.primary.kill()
    deployment.primary.hold_starting(60)
    failing(service, "the database system is starting up")
    assert check_write_refused(service) < 5
    deployment.primary.release_starting()
    heal(service, "starting up", time.monotonic())


def test_a_wrong_password_is_named_and_not_shown_and_the_right_one_heals(deployment, service):
    wrong = "not-the-password"
    deployment.primary.superuser(f"ALTER ROLE cognive PASSWORD '{wrong}'")
    try:
        deployment.primary.superuser("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cognive'")
        failing(service, "password authentication failed")
        assert check_write_refused(service) < 5
        assert wrong not in service.log_text()
    finally:
        deployment.primary.superuser(f"ALTER ROLE cognive PASSWORD '{deployment.cluster.password}'")
    heal(service, "wrong password", time.monotonic())


def test_a_frozen_primary_is_named_and_served_again_when_it_thaws(deployment):
    service = deployment.serve(HTTP_HANDLER_TIMEOUT_MS=4000)
    service.wait_ok()
    deployment.primary.freeze()
    failing(service, "database unavailable")
    wait_until(lambda: service.health().status_code == 503, "the page says so", seconds=5)
    assert "does not answer" in service.health().json()["detail"]
    assert check_write_refused(service) < 5
    deployment.primary.thaw()
    heal(service, "frozen primary", time.monotonic())


def test_a_primary_without_free_connections_is_named_and_served_again(deployment):
    service = deployment.serve()
    service.wait_ok()
    # None at all for the role: of a few that are taken by others, the server may get one back before all are held.
    deployment.primary.superuser("ALTER ROLE cognive CONNECTION LIMIT 0")
    try:
        deployment.primary.superuser("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cognive'")
        failing(service, "too many connections")
        assert check_write_refused(service) < 16
    finally:
        deployment.primary.superuser("ALTER ROLE cognive CONNECTION LIMIT -1")
    heal(service, "no connection left", time.monotonic())


def test_an_exhausted_pool_refuses_in_time_and_says_so_and_point_reads_go_on(deployment):
    service = deployment.serve(DATABASE_CONNECTIONS=1, HTTP_HANDLER_TIMEOUT_MS=2000)
    service.wait_ok()
    api = service.api()
    agent = api.agent()["id"]
    clients = [service.api() for _ in range(12)]

    def write(thread, _):
        # Whoever came just after the one with the connection gets it in turn and waits for the database: only those
        # whose time ends while it changes hands tell of the pool, so they come close together and never in step.
        time.sleep(random.uniform(0, 0.05))
        return clients[thread].post("/api/v1/agents", json={"name": f"waiting-{uuid7()}"})

    with contextlib.closing(psycopg2.connect(deployment.primary.url)) as blocker:
        # The first one to write keeps the only connection for as long as it may wait.
        blocker.cursor().execute("LOCK TABLE audit_logs IN SHARE MODE")
        with Load(write, threads=12) as load:
            wait_until(lambda: load.statuses().get(503, 0) >= 12, "refusals", seconds=10)
            wait_until(lambda: "no database connection became free in time" in service.log_text(), "the pool is named", seconds=30)
            asked = time.monotonic()
            assert api.get(f"/api/v1/agents/{agent}").status_code == 200
            assert time.monotonic() - asked < 1
            assert service.readiness().status_code == 200
            blocker.rollback()
            freed = time.monotonic()
            healed = wait_until(lambda: load.first(201, freed - 4), "writes succeed", seconds=10)
    assert set(load.statuses()) <= {201, 503}
    assert load.seconds_max() < 3
    print(f"\nexhausted pool: writes succeed {healed.end - freed:.2f} s after the end of the fault; {load.statuses()}")
    service.wait_ok()


@pytest.mark.parametrize("mode", ["stall", "stall_responses", "close_all", "refuse", "truncate_after"])
def test_a_broken_way_to_the_primary_is_503_within_the_deadline_and_heals(deployment, mode):
    service = deployment.serve(HTTP_HANDLER_TIMEOUT_MS=4000)
    service.wait_ok()
    clients = [service.api() for _ in range(3)]
    proxy = deployment.proxy_of(deployment.primary)
    with Load(lambda thread, count: clients[thread].post("/api/v1/agents", json={"name": f"{mode}-{uuid7()}"}), threads=3) as load:
        wait_until(lambda: load.statuses().get(201, 0) > 10, "writes under way", seconds=10)
        broken = time.monotonic()
        getattr(proxy, mode)(*([300] if mode == "truncate_after" else []))
        if mode == "close_all":
            wait_until(lambda: load.statuses(broken).get(201, 0) > 10, "writes succeed", seconds=10)
        else:
            wait_until(lambda: load.statuses(broken).get(503, 0) > 3, "refusals", seconds=15)
            proxy.pass_through()
        mended = time.monotonic()
        healed = wait_until(lambda: load.first(201, mended), "writes succeed", seconds=15)
    print(f"\n{mode}: writes succeed {healed.end - mended:.2f} s after the end of the fault; {load.statuses()}; longest {load.seconds_max():.2f} s")
    assert set(load.statuses()) <= {201, 503}
    assert load.seconds_max() < 5.5
    for outcome in load.outcomes:
        if outcome.status == 503:
            check_problem(outcome.answer, 503)
            assert outcome.answer.headers["Retry-After"].isdigit()
    service.wait_ok()
