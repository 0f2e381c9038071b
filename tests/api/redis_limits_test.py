"""With REDIS_URL processes count rate limits together; without their Redis each counts by itself, and nobody waits for it."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from http_protection_test import make_certificate
from installation import clean_environment, run_cognive, wait_until
from problems import check_problem
from redis_server import RedisServer
from tcp_proxy import TcpProxy


def new_key(installation):
    """The text of a key that nobody has used."""
    return installation.api().post("/api/v1/api-keys", json={"name": "limited", "permissions": ["teams:read"]}).json()["key"]


def statuses(service, key, count):
    """Of so many requests."""
    api = service.api(key)
    return [api.get("/api/v1/teams").status_code for _ in range(count)]


def allowed_while_redis_counts(installation, service):
    """How many of twelve requests of a new caller: of the first such caller, all of whose requests Redis has counted."""
    # The first requests of a process make its connection, and do not wait until an encrypted one is there.
    wait_until(lambda: statuses(service, new_key(installation), 1) and service.metric("redis_connections_open") > 0, "it is connected", 10)
    for _ in range(5):
        before = service.metric("redis_failures_total")
        allowed = statuses(service, new_key(installation), 12).count(200)
        if service.metric("redis_failures_total") == before:
            return allowed
    pytest.fail("Redis does not answer in time")


def test_processes_count_together(serve, installation, redis):
    key = new_key(installation)
    services = [serve(RATE_LIMIT_PER_CALLER=2, REDIS_URL=redis.url(database=3)) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = [status for part in pool.map(lambda service: statuses(service, key, 20), services) for status in part]
    # 20 at once, and two for each second that it takes.
    assert 20 <= found.count(200) <= 26 and set(found) == {200, 429}
    last = services[0].api(key).get("/api/v1/teams")
    check_problem(last, 429)
    assert last.headers["RateLimit-Policy"] == '"caller";q=20;w=10' and last.headers["RateLimit"].startswith('"caller";r=0;t=') and 1 <= int(last.headers["Retry-After"]) <= 2
    assert statuses(services[1], new_key(installation), 1) == [200], "others have limits of their own"
    names = redis.command("-n", "3", "KEYS", "cognive:limit:caller:*").split()
    assert names and all(int(redis.command("-n", "3", "PTTL", name)) <= 10_000 for name in names), "what is full again is not kept"
    time.sleep(int(last.headers["Retry-After"]))
    assert services[1].api(key).get("/api/v1/teams").status_code == 200


def test_addresses_count_together(serve, redis):
    services = [serve(RATE_LIMIT_PER_ADDRESS=1, HTTP_TRUSTED_PROXIES="127.0.0.0/8", REDIS_URL=redis.url()) for _ in range(2)]
    here = {"X-Forwarded-For": "192.0.2.77"}
    found = [service.api().get("/openapi.json", headers=here).status_code for _ in range(8) for service in services]
    assert 10 <= found.count(200) <= 12


@pytest.mark.parametrize("transport", ["socket", "tls"])
def test_it_is_reached_by_a_socket_and_encrypted(serve, installation, shared_directory, transport):
    certificate = make_certificate(shared_directory, "redis") if transport == "tls" else None
    with RedisServer(shared_directory, certificate=certificate) as server:
        url = f"unix://{server.socket}?db=1" if transport == "socket" else server.url() + f"?ssl_ca_certs={certificate[0]}"
        service = serve(RATE_LIMIT_PER_CALLER=1, REDIS_URL=url)
        assert allowed_while_redis_counts(installation, service) in (10, 11)
        assert server.command("-n", "1" if transport == "socket" else "0", "KEYS", "cognive:limit:*")


def test_a_certificate_of_somebody_else_is_not_trusted(serve, installation, shared_directory):
    certificate = make_certificate(shared_directory, "strange-redis")
    with RedisServer(shared_directory, certificate=certificate) as server:
        service = serve(RATE_LIMIT_PER_CALLER=1, REDIS_URL=server.url())
        assert statuses(service, new_key(installation), 12).count(200) in (10, 11), "it counts by itself"
        wait_until(lambda: "Redis is away" in service.log.read_text() and "certificate" in service.log.read_text(), "it is told", 10)
        assert not server.command("KEYS", "*").strip()


def slowest_of(service, key, count):
    """The longest of so many requests that must all be answered, in seconds."""
    slowest = 0
    api = service.api(key)
    for _ in range(count):
        begun = time.monotonic()
        assert api.get("/api/v1/teams").status_code == 200
        slowest = max(slowest, time.monotonic() - begun)
    return slowest


def test_whatever_becomes_of_redis_requests_are_answered(serve, installation, shared_directory):
    """Killed, frozen, slow, cut off in the middle of a reply, started again without what it knew."""
    with RedisServer(shared_directory) as server, TcpProxy(server.port) as proxy:
        service = serve(RATE_LIMIT_PER_CALLER=100_000, REDIS_URL=server.url(port=proxy.port), REDIS_SOCKET_TIMEOUT="1", REDIS_SOCKET_CONNECT_TIMEOUT="1")
        key = new_key(installation)

        def tokens_taken():
            """How often a bucket was asked for one."""
            found = re.findall(r"^cmdstat_eval(?:sha)?:calls=(\d+).*failed_calls=(\d+)", server.command("INFO", "commandstats"), re.M)
            return sum(int(calls) - int(failed) for calls, failed in found)

        def counts_in_redis():
            """Whether the bucket of the caller is kept there."""
            before = tokens_taken()
            statuses(service, key, 1)
            return tokens_taken() > before

        assert counts_in_redis()
        for fault, mend in ((proxy.stall, proxy.pass_through), (proxy.stall_responses, proxy.pass_through), (lambda: proxy.truncate_after(7), proxy.pass_through),
                            (proxy.refuse, proxy.pass_through), (lambda: proxy.close_all(reset=True), proxy.pass_through), (server.freeze, server.thaw),
                            (server.kill, server.start), (lambda: server.command("SCRIPT", "FLUSH"), lambda: None)):
            fault()
            # A bound for the machine's other work, far below any patience of a client: each waits for 50 ms at most.
            assert slowest_of(service, key, 30) < 1
            mend()
            wait_until(counts_in_redis, "it counts in Redis again", 20)
        assert service.metric("redis_failures_total") > 0
        said = service.log.read_text()
        assert "Redis is away" in said and "Redis is there again" in said and '"level":"error"' not in said


def test_readiness_asks_redis_itself_and_within_a_second(serve, shared_directory):
    """Whoever listens on its port need not be it, and may hang."""
    with RedisServer(shared_directory) as server:
        service = serve(REDIS_URL=server.url())

        def readiness():
            begun = time.monotonic()
            answer = service.api().get("/api/v1/health/readiness")
            assert time.monotonic() - begun < 2, "a second, and what a busy machine adds"
            return answer

        assert readiness().status_code == 200
        server.freeze()
        wait_until(lambda: readiness().status_code == 503, "it is not ready", 10)
        assert check_problem(readiness(), 503)["detail"].startswith("Not ready (redis unavailable): ")
        server.thaw()
        wait_until(lambda: readiness().status_code == 200, "it is ready again", 20)


def test_a_wrong_password_is_told_and_not_shown(serve, installation, redis):
    service = serve(RATE_LIMIT_PER_CALLER=1, REDIS_URL=redis.url(password="hunter2"))
    assert statuses(service, new_key(installation), 12).count(200) in (10, 11)
    wait_until(lambda: "WRONGPASS" in service.api().get("/api/v1/health/readiness").text, "readiness says why", 10)
    wait_until(lambda: "Redis is away" in service.log.read_text(), "it is told", 10)
    said = service.log.read_text()
    assert "WRONGPASS" in said and "hunter2" not in said


@pytest.mark.parametrize("url, said", [("http://127.0.0.1", "redis://"), ("redis://127.0.0.1/x", "number of a database"), ("unix://", "must be a URL")])
def test_a_url_that_is_none_stops_the_start(installation, url, said):
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    done = run_cognive("serve", env=clean_environment(**variables, HTTP_PORT=0, REDIS_URL=url), timeout=30)
    assert done.returncode == 1 and "REDIS_URL" in done.stderr and said in done.stderr
