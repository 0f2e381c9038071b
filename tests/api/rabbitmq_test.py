"""Events that agents publish on RabbitMQ are taken as over HTTP: once each, after the commit, under the same rules; what cannot be goes to the dead letters."""

import gzip
import json
import threading
import time

import pytest

from http_protection_test import make_certificate
from installation import clean_environment, run_cognive, uuid7, wait_until
from rabbitmq_server import RabbitMqServer
from tcp_proxy import TcpProxy

CALLS, TOOLS, RUNS = "agent.llm.calls", "agent.tool.invocations", "agent.runs.events"


@pytest.fixture(scope="module")
def broker(shared_directory):
    """A RabbitMQ that the tests of this file share."""
    with RabbitMqServer(shared_directory) as server:
        yield server


@pytest.fixture
def served(serve, broker):
    """A server that takes its messages; queues are empty."""
    service = serve(RABBITMQ_URL=broker.url())
    wait_until(lambda: service.metric("mq_connections_open", connection="cognive events") == 1, "it is connected")
    for queue in (CALLS, TOOLS, RUNS):
        broker.get_all(f"dlq.{queue}", seconds=0.2)
    return service


def call(run_id, **attributes):
    """A call as agents report it."""
    return {"id": uuid7(), "run_id": run_id, "provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 1000, "output_tokens": 100}} | attributes


def publish(broker, queue, body, key, **properties):
    """As an SDK does."""
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    broker.publish(queue, queue, text, headers={"X-API-Key": key}, **({"content_type": "application/json"} | properties))


def counted(installation, table, run_id):
    """Rows of a run."""
    return installation.sql(f"SELECT count(*) FROM {table} WHERE run_id = %s", run_id)[0][0]


def dead_letters(broker, queue, count):
    """Bodies that were refused."""
    return [body for _, _, body in broker.get_all(f"dlq.{queue}", count=count, seconds=10)]


def test_events_are_stored_priced_and_acknowledged(served, installation, broker, subject):
    run = subject["run_id"]
    publish(broker, CALLS, call(run), installation.key)
    publish(broker, CALLS, [call(run) | {"type": "llm_call"}, {"type": "step", "id": uuid7(), "run_id": run, "index": 0, "kind": "plan", "name": "plan"}], installation.key)
    publish(broker, CALLS, gzip.compress(json.dumps(call(run)).encode()), installation.key, content_encoding="gzip")
    publish(broker, CALLS, "\n".join(json.dumps(call(run) | {"type": "llm_call"}) for _ in range(3)), installation.key, content_type="application/x-ndjson")
    publish(broker, TOOLS, {"id": uuid7(), "run_id": run, "tool": "search"}, installation.key)
    wait_until(lambda: counted(installation, "llm_calls", run) == 6 and counted(installation, "tool_invocations", run) == 1, "all are stored", 10)
    assert counted(installation, "execution_steps", run) == 1
    assert installation.api().get(f"/api/v1/runs/{run}").json()["totals"]["cost_usd"] == pytest.approx(6 * 0.0035)
    wait_until(lambda: served.metric("mq_messages_consumed_total", queue=CALLS) == 4, "they are acknowledged", 5)
    assert broker.depth(CALLS) == 0 and broker.depth(f"dlq.{CALLS}") == 0


def test_runs_begin_and_end(served, installation, broker, api):
    agent, run = api.agent()["id"], uuid7()
    publish(broker, RUNS, {"type": "run_start", "run_id": run, "agent_id": agent, "labels": {"from": "a queue"}}, installation.key)
    wait_until(lambda: api.get(f"/api/v1/runs/{run}").status_code == 200, "it has begun", 10)
    publish(broker, RUNS, {"type": "run_heartbeat", "run_id": run}, installation.key)
    publish(broker, RUNS, {"type": "run_end", "run_id": run, "status": "succeeded"}, installation.key)
    wait_until(lambda: api.get(f"/api/v1/runs/{run}").json()["status"] == "succeeded", "it has ended", 10)
    assert api.get(f"/api/v1/runs/{run}").json()["labels"] == {"from": "a queue"}


def test_what_overtakes_the_start_of_its_run_waits_for_it(served, installation, broker, api):
    """Messages are worked on side by side, and queues know nothing of each other."""
    agent, run = api.agent()["id"], uuid7()
    publish(broker, CALLS, call(run), installation.key)
    publish(broker, RUNS, {"type": "run_heartbeat", "run_id": run}, installation.key)
    publish(broker, RUNS, {"type": "run_end", "run_id": run, "status": "failed", "error": "it was so"}, installation.key)
    time.sleep(0.5)
    publish(broker, RUNS, {"type": "run_start", "run_id": run, "agent_id": agent}, installation.key)
    wait_until(lambda: api.get(f"/api/v1/runs/{run}").json().get("status") == "failed" and counted(installation, "llm_calls", run) == 1, "all has happened", 20)
    assert broker.depth(f"dlq.{CALLS}") == 0


def test_a_message_that_comes_twice_counts_once(served, installation, broker, subject):
    event = call(subject["run_id"])
    for _ in range(5):
        publish(broker, CALLS, event, installation.key)
    wait_until(lambda: served.metric("mq_messages_consumed_total", queue=CALLS) == 5, "all are acknowledged", 10)
    assert counted(installation, "llm_calls", subject["run_id"]) == 1 and broker.depth(f"dlq.{CALLS}") == 0


def test_what_cannot_be_taken_is_a_dead_letter_and_holds_up_nothing(served, installation, broker, subject):
    run = subject["run_id"]
    viewer = installation.api().post("/api/v1/api-keys", json={"name": "reads only", "permissions": ["runs:read"]}).json()["key"]
    stored = call(run)
    publish(broker, CALLS, stored, installation.key)
    wait_until(lambda: counted(installation, "llm_calls", run) == 1, "the first is stored", 10)
    refused = {"bad key": (call(run), "cgv_nobody"), "no permission": (call(run), viewer), "unknown field": (call(run, colour="red"), installation.key),
               "other content": (stored | {"model": "gpt-4o-mini"}, installation.key), "no run": (call(uuid7()), installation.key),
               "no json": ("{", installation.key), "half of a batch": ([call(run) | {"type": "llm_call"}, {"type": "nothing"}], installation.key)}
    for body, key in refused.values():
        publish(broker, CALLS, body, key)
    publish(broker, CALLS, b"\x80\x04\x95pickle", installation.key, content_type="application/x-python-serialize")
    publish(broker, CALLS, call(run), installation.key)
    assert len(dead_letters(broker, CALLS, len(refused) + 1)) == len(refused) + 1
    # The first, the last, and the half of the batch that was an event.
    wait_until(lambda: counted(installation, "llm_calls", run) == 3, "the others are stored", 5)
    assert served.metric("mq_messages_failed_total", queue=CALLS, reason="401") == 1
    assert served.metric("mq_messages_failed_total", queue=CALLS, reason="403") == 1
    assert served.metric("mq_messages_failed_total", queue=CALLS, reason="malformed") == 2
    log = served.log_text()
    assert "a message was refused" in log and "cgv_nobody" not in log and '"level":"error"' not in log


def test_a_queue_that_is_there_is_used_as_it_is(serve, installation, broker, subject):
    broker.control("add_vhost", "before us")
    broker.control("set_permissions", "-p", "before us", broker.user, ".*", ".*", ".*")
    import pika  # noqa: PLC0415
    with broker.connection(virtual_host="before us") as connection:
        channel = connection.channel()
        channel.exchange_declare(CALLS, "direct", durable=True)
        channel.queue_declare(CALLS, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(CALLS, CALLS, CALLS)
        service = serve(RABBITMQ_URL=broker.url(vhost="before us"))
        channel.basic_publish(CALLS, CALLS, json.dumps(call(subject["run_id"])), pika.BasicProperties(headers={"x-api-key": installation.key}))
        wait_until(lambda: counted(installation, "llm_calls", subject["run_id"]) == 1, "it is stored", 10)
        assert '"level":"error"' not in service.log_text() and "RabbitMQ is away" not in service.log_text()


def test_nothing_is_lost_or_doubled_whatever_becomes_of_the_connection(serve, installation, broker, subject):
    """Published all the while: the server killed, its connection closed, stalled and cut, the broker frozen."""
    run = subject["run_id"]
    published = []
    with TcpProxy(broker.port) as proxy:
        url = broker.url(port=proxy.port) + "?heartbeat=1"
        services = [serve(RABBITMQ_URL=url)]
        stop = threading.Event()

        def keep_publishing():
            with broker.connection() as connection:
                channel = connection.channel()
                channel.confirm_delivery()
                import pika  # noqa: PLC0415
                while not stop.is_set():
                    event = call(run)
                    channel.basic_publish(CALLS, CALLS, json.dumps(event), pika.BasicProperties(headers={"X-API-Key": installation.key}, delivery_mode=2))
                    published.append(event["id"])
                    time.sleep(0.002)

        wait_until(lambda: services[0].metric("mq_connections_open", connection="cognive events") == 1, "it is connected")
        publisher = threading.Thread(target=keep_publishing)
        publisher.start()
        try:
            for fault, mend in ((lambda: proxy.close_all(reset=True), None), (proxy.stall, proxy.pass_through), (proxy.stall_responses, proxy.pass_through),
                                (lambda: proxy.truncate_after(700), proxy.pass_through), (proxy.refuse, proxy.pass_through)):
                time.sleep(0.4)
                fault()
                time.sleep(1.2)
                if mend:
                    mend()
                wait_until(lambda: services[0].metric("mq_connections_open", connection="cognive events") == 1, "it is connected again", 15)
            services[0].process.kill()
            services[0].process.wait()
            services.append(serve(RABBITMQ_URL=url))
        finally:
            stop.set()
            publisher.join()
        wait_until(lambda: counted(installation, "llm_calls", run) >= len(published), "all are stored", 30)
        assert counted(installation, "llm_calls", run) == len(set(published)) == len(published)
        wait_until(lambda: broker.depth(CALLS) == 0, "the queue is empty", 10)
        assert broker.depth(f"dlq.{CALLS}") == 0
        assert '"level":"error"' not in services[0].log_text()


def test_while_the_database_is_away_messages_wait(serve, installation, broker, subject):
    port = int(installation.variables["DATABASE_URL"].split("@")[-1].split(":")[1].split("/")[0]) if "@" in installation.variables["DATABASE_URL"] else None
    if port is None:
        pytest.fail("the database has no port")
    with TcpProxy(port) as proxy:
        url = installation.variables["DATABASE_URL"].replace(f":{port}/", f":{proxy.port}/")
        service = serve(RABBITMQ_URL=broker.url(), DATABASE_URL=url, DATABASE_READ_URLS="")
        wait_until(lambda: service.metric("mq_connections_open", connection="cognive events") == 1, "it is connected")
        proxy.refuse()
        proxy.close_all()
        events = [call(subject["run_id"]) for _ in range(20)]
        for event in events:
            publish(broker, CALLS, event, installation.key)
        time.sleep(2)
        assert broker.depth(f"dlq.{CALLS}") == 0 and counted(installation, "llm_calls", subject["run_id"]) == 0
        proxy.pass_through()
        wait_until(lambda: counted(installation, "llm_calls", subject["run_id"]) == len(events), "all are stored", 60)
        assert broker.depth(f"dlq.{CALLS}") == 0


def test_readiness_tells_of_it_within_a_second(serve, shared_directory):
    with RabbitMqServer(shared_directory) as server:
        service = serve(RABBITMQ_URL=server.url())
        wait_until(lambda: service.readiness().status_code == 200, "it is ready", 10)
        assert service.readiness().json()["dependencies"]["rabbitmq_url"].startswith("amqp://cognive:***@127.0.0.1")

        def answers(status):
            begun = time.monotonic()
            answer = service.readiness()
            assert time.monotonic() - begun < 2, "a second, and what the machine does beside"
            return answer.json() if answer.status_code == status else None

        server.freeze()
        answer = wait_until(lambda: answers(503), "it tells of a broker that hangs", 5)
        assert answer["detail"].startswith("Not ready (rabbitmq unavailable): ")
        server.thaw()
        wait_until(lambda: answers(200), "it is ready again", 20)
        server.kill()
        wait_until(lambda: answers(503), "it tells of a broker that is gone", 5)
        server.start()
        wait_until(lambda: answers(200), "it is ready again", 30)
        assert server.password not in service.log_text()


def test_it_is_reached_encrypted_and_others_are_not_trusted(serve, shared_directory, installation, subject):
    certificate = make_certificate(shared_directory, "rabbitmq")
    with RabbitMqServer(shared_directory, certificate=certificate) as server:
        url = server.url(tls=True)
        stranger = serve(RABBITMQ_URL=url)
        wait_until(lambda: "RabbitMQ is away" in stranger.log_text(), "it is told", 10)
        service = serve(RABBITMQ_URL=f"{url}?ssl_ca_certs={certificate[0]}")
        wait_until(lambda: service.metric("mq_connections_open", connection="cognive events") == 1, "it is connected")
        publish(server, CALLS, call(subject["run_id"]), installation.key)
        wait_until(lambda: counted(installation, "llm_calls", subject["run_id"]) == 1, "it is stored", 10)
        assert stranger.metric("mq_connections_open", connection="cognive events") == 0


@pytest.mark.parametrize("url, what", [("rabbit", "must be a URL"), ("http://a:s3cret@b", "must start with amqp://"), ("amqp://a:s3cret@b//?heartbeat=0", "heartbeat")])
def test_a_url_that_is_none_stops_the_start(installation, url, what):
    variables = {name: value for name, value in installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
    result = run_cognive("serve", env=clean_environment(**variables, HTTP_PORT=0, RABBITMQ_URL=url))
    assert result.returncode == 1 and "RABBITMQ_URL" in result.stderr and what in result.stderr and "s3cret" not in result.stderr
