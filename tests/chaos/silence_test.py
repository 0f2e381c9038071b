"""Silence: agents that could not be heard, because the database was away, are not called silent for it.

Nothing makes it shorter than more than a minute, so only COGNIVE_LONG=1 runs it.
"""

import os
import time

import pytest

from installation import wait_until
from reports import run_of

SEARCH_SECONDS = 15
LIMIT_SECONDS = 20  # with the grace of five seconds, a service has to be up for longer before it ends such a run


def age(deployment, *run_ids):
    """Let runs be older than they are."""
    deployment.primary.sql("UPDATE agent_runs SET created_at = created_at - interval '1 hour', last_seen_at = last_seen_at - interval '1 hour', "
                           "started_at = started_at - interval '1 hour' WHERE id = ANY (%s::uuid[])", (list(run_ids),))


@pytest.mark.skipif(os.environ.get("COGNIVE_LONG") != "1", reason="takes more than a minute: ./test --long")
def test_runs_that_could_not_be_heard_while_the_database_was_away_are_spared_until_they_could(deployment, service):
    api = service.api()
    agent = api.agent(silence_timeout_s=LIMIT_SECONDS)["id"]
    briefly = api.agent(silence_timeout_s=1)["id"]

    def wait_for_search():
        """Wait until a search has ended a run whose limit is short."""
        control = api.run(briefly)["run_id"]
        wait_until(lambda: api.get(f"/api/v1/runs/{control}").json().get("status") == "terminated", "a silent run ended", seconds=3 * SEARCH_SECONDS)

    time.sleep(LIMIT_SECONDS + 6)  # what the service is patient with because it has just started is over
    before, silent, back = (api.run(agent)["run_id"] for _ in range(3))
    age(deployment, before)
    wait_until(lambda: run_of(api, before)["status"] == "terminated", "a silent run ended", seconds=2 * SEARCH_SECONDS)
    deployment.proxy_of(deployment.primary).refuse()
    time.sleep(5)
    deployment.proxy_of(deployment.primary).pass_through()
    service.wait_ok()
    age(deployment, silent, back)
    wait_for_search()
    assert [run_of(api, run)["status"] for run in (silent, back)] == ["running"] * 2
    assert api.post(f"/api/v1/runs/{back}/heartbeat").json()["order"] == "continue"
    wait_until(lambda: run_of(api, silent)["status"] == "terminated", "the one that stays silent ended", seconds=4 * SEARCH_SECONDS)
