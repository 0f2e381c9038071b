"""Services beside each other, and before their database: events are stored once whoever hears of them, and never without a price that is known."""

import concurrent.futures
import random
import time

from installation import llm_call
from ledger import check_verified
from load import Load
from reports import post_batch, step, tool


def stored(deployment, run_id):
    """How many events of each kind a run has."""
    tables = ("llm_calls", "tool_invocations", "execution_steps")
    return [deployment.primary.sql(f"SELECT count(*) FROM {table} WHERE run_id = '{run_id}'")[0][0] for table in tables]


def test_the_same_events_sent_to_two_services_at_once_are_stored_once(deployment):
    chance = random.Random(6)
    services = [deployment.serve() for _ in range(2)]
    for service in services:
        service.wait_ok()
    api = services[0].api()
    run_id = api.run(api.agent()["id"])["run_id"]
    batches = [[kind(run_id) for kind in chance.choices((llm_call, tool, step), k=chance.choice((1, 20, 300)))] for _ in range(60)]

    def send(number):
        api = services[number % 2].api()
        accepted = 0
        # In the same order but for neighbours: both have most batches in hand at the same time.
        for at in range(0, len(batches), 4):
            for batch in random.Random(f"{number}/{at}").sample(batches[at:at + 4], 4):
                body = post_batch(api, batch)
                assert body["rejected"] == [] and body["accepted"] + body["duplicates"] == len(batch)
                accepted += body["accepted"]
        return accepted

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        accepted = sum(pool.map(send, range(6)))
    events = [event for batch in batches for event in batch]
    assert accepted == len(events)
    kinds = [event["type"] for event in events]
    assert stored(deployment, run_id) == [kinds.count(kind) for kind in ("llm_call", "tool_invocation", "step")]
    check_verified(deployment)


def test_a_service_that_starts_before_its_database_stores_no_call_without_its_price(deployment):
    first = deployment.serve()
    first.wait_ok()
    run_id = first.api().run(first.api().agent()["id"])["run_id"]
    assert first.stop() == 0
    for node in deployment.nodes:
        deployment.proxy_of(node).refuse()
    late = deployment.serve()
    apis = [late.api() for _ in range(4)]

    def send(number, _):
        return apis[number].post("/api/v1/events", json=[llm_call(run_id)])

    # They come from before the database is there until a while after, and none is told that it is the caller's fault.
    with Load(send, threads=len(apis), pause=0.001) as load:
        time.sleep(1)
        back = time.monotonic()
        for node in deployment.nodes:
            deployment.proxy_of(node).pass_through()
        late.wait_writable()
        time.sleep(3)
    assert set(load.statuses()) == {200, 503} and load.first(200, back)
    statuses = deployment.primary.sql(f"SELECT price_status, count(*) FROM llm_calls WHERE run_id = '{run_id}' GROUP BY 1")
    assert [status for status, _ in statuses] == ["priced"], statuses
