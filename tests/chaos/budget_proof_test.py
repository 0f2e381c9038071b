"""No grant of a hard-stop budget exceeds its limit: many callers, three services on one database, kill -9 and broken connections between any two statements.

COGNIVE_LONG=1 makes it minutes and 256 callers instead of seconds and 32; the seed of all choices is printed, and COGNIVE_CHAOS_SEED sets it.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter

import psycopg2
import requests
from budget_ledger import recompute
from installation import Api, llm_call, uuid7, wait_until
from ports import ReservedPort
from reports import step, tool

LONG = os.environ.get("COGNIVE_LONG") == "1"
SECONDS = 180 if LONG else 15
CALLERS_OF_PROCESS = 32
PROCESSES = 8 if LONG else 1  # one could not keep 256 callers busy
LIFETIME_S = 2
SCALE = 25 if LONG else 1  # of the limits: they shall be reached when most of the time has passed
PRICED, UNPRICED = ("openai", "gpt-4o"), ("nobody", "nothing")
# What has been granted, whatever came in unreserved or beyond what was reserved.
GRANTED = "spent - unreserved - exceeded + reserved"


class Caller(threading.Thread):
    """One that asks, calls and reports as chance has it, repeats what got no answer at another service, and now and then dies with money held."""

    def __init__(self, number, urls, key, runs, seed):
        super().__init__(daemon=True)
        self.chance = random.Random(f"{seed}/{number}")
        self.urls = urls
        self.key = key
        self.runs = runs
        self.ended = threading.Event()
        self.said = Counter()
        self.granted = set()  # reservations whose grants were answered
        self.reported = []  # acknowledged events
        self.failure = None

    def run(self):
        try:
            while not self.ended.is_set():
                self.turn()
                self.ended.wait(self.chance.random() * 0.02)
        except Exception as error:  # the test's thread raises it
            self.failure = error

    def ask(self, path, body):
        """The answer of whichever service gives one; None when the time is up."""
        while not self.ended.is_set():
            try:
                answer = requests.post(self.chance.choice(self.urls) + path, json=body, headers={"X-API-Key": self.key}, timeout=15)
            except requests.RequestException:
                self.said["nothing"] += 1
                self.ended.wait(0.05)
                continue
            if answer.status_code != 503:
                self.said[answer.status_code] += 1
                return answer
            self.said[503] += 1
            self.ended.wait(0.05)
        return None

    def report(self, event):
        answer = self.ask("/api/v1/events", [event])
        if answer is None:
            return
        assert answer.status_code == 200 and answer.json()["rejected"] == [], answer.text
        self.reported.append((event["type"], event["id"]))

    def turn(self):
        agent, run = self.chance.choice(self.runs)
        provider, model = self.chance.choices((PRICED, UNPRICED), (9, 1))[0]
        usage = {"input_tokens": self.chance.randrange(1, 400), "output_tokens": self.chance.randrange(1, 100)}
        kind = self.chance.random()
        if kind < 0.08:  # nobody asked
            self.report(llm_call(run, provider=provider, model=model, usage=usage))
            return
        if kind < 0.14:
            self.report(self.chance.choice((step, tool))(run))
            return
        reservation = uuid7()
        wanted = {"max_cost_usd": self.chance.randrange(1, 4000) / 1e6} if self.chance.random() < 0.5 else {"usage": usage}
        answer = self.ask("/api/v1/budgets/authorize", {"reservation_id": reservation, "agent_id": agent, "run_id": run, "provider": provider,
                                                        "model": model, "expires_in_s": LIFETIME_S} | wanted)
        if answer is None or answer.status_code == 429:
            return
        if answer.status_code == 409:  # it expired before its grant was heard of, or the budget of the run is used up
            assert "is expired already" in answer.text or "is used up" in answer.text, answer.text
            return
        assert answer.status_code == 200, answer.text
        self.granted.add(reservation)
        end = self.chance.random()
        if end < 0.7:
            # Mostly less than what was reserved, now and then more.
            scale = self.chance.choice((0.2, 0.9, 1, 1, 3))
            usage = {unit: max(1, int(count * scale)) for unit, count in usage.items()}
            self.report(llm_call(run, provider=provider, model=model, usage=usage, reservation_id=reservation))
        elif end < 0.85:
            released = self.ask(f"/api/v1/budgets/reservations/{reservation}/release", None)
            assert released is None or released.status_code == 200, released.text
        # Else it dies, and its money comes back by itself.


def call_for(seconds, process, *things):
    """What the callers of one process have met in so many seconds."""
    callers = [Caller(process * CALLERS_OF_PROCESS + number, *things) for number in range(CALLERS_OF_PROCESS)]
    for caller in callers:
        caller.start()
    time.sleep(seconds)
    for caller in callers:
        caller.ended.set()
    for caller in callers:
        caller.join(60)
    failures = [repr(caller.failure) for caller in callers if caller.failure]
    return (sum((caller.said for caller in callers), Counter()), {one for caller in callers for one in caller.granted},
            [event for caller in callers for event in caller.reported], failures)


class Sampler(threading.Thread):
    """Looks at all windows in one snapshot, again and again."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url = url
        self.ended = threading.Event()
        self.looks = 0
        self.nearest = 0  # to a limit, as a share of it, that anything came without going over it
        self.used_up = {}  # window: since when all of its limit was spent, which nothing undoes
        self.breaches = []

    def run(self):
        with contextlib.closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            while not self.ended.wait(0.02):
                cursor.execute(f"SELECT now(), id, limit_amount, hard_stop, {GRANTED}, spent, reserved, unreserved, exceeded FROM budget_windows")
                self.looks += 1
                for now, window, limit, hard_stop, granted, spent, reserved, *others in cursor.fetchall():
                    if (hard_stop and granted > limit) or min(spent, reserved, *others) < 0:
                        self.breaches.append((window, limit, granted, spent, reserved, others))
                    if hard_stop and spent + reserved <= limit:
                        self.nearest = max(self.nearest, (spent + reserved) / limit)
                    if hard_stop and spent >= limit:
                        self.used_up.setdefault(window, now)


def budgets_of(api, agents, run):
    """Budgets that cover each other's calls, of every metric and window, hard and soft."""
    bodies = [
        {"name": "hot", "scope": "organisation", "window": "day", "limit_usd": 3 * SCALE / 10, "hard_stop": True, "assumed_usd_per_call": 0.001},
        {"name": "soft", "scope": "team", "window": "month", "limit_usd": 0.05, "assumed_usd_per_call": 0.002},
        {"name": "tokens", "scope": "organisation", "window": "week", "limit_tokens": 60_000 * SCALE, "hard_stop": True, "time_zone": "Asia/Kathmandu"},
        {"name": "requests of a run", "scope": "organisation", "window": "run", "limit_requests": 100_000, "hard_stop": True},
        {"name": "one run", "scope": "run", "run_id": run, "limit_usd": SCALE / 50, "hard_stop": True, "assumed_usd_per_call": 0},
        {"name": "steps", "scope": "organisation", "window": "total", "limit_steps": 1_000_000, "hard_stop": True},
        {"name": "tools", "scope": "organisation", "window": "total", "limit_tool_calls": 10},
        {"name": "mini", "scope": "organisation", "window": "day", "model": "nothing", "limit_requests": 15 * SCALE, "hard_stop": True},
    ] + [{"name": f"agent {at}", "scope": "agent", "agent_id": agent, "window": "day", "limit_usd": (at + 1) * SCALE / 20, "hard_stop": True,
          "assumed_usd_per_call": 0.0005} for at, agent in enumerate(agents)]
    made = []
    for body in bodies:
        answer = api.post("/api/v1/budgets", json=body)
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["id"])
    return made


def break_things(deployment, services, chance, until):
    """kill -9 of services, and connections to the database that break, until the time is up."""
    kills = cuts = 0
    kinds = []
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.5, 2))
        # As many of one as of the other: a cut keeps all services from the database for a moment, and nothing but cuts leaves no time to reach a limit.
        kinds = kinds or chance.sample(("kill", "cut"), 2)
        if kinds.pop() == "kill":
            service = chance.choice(services)
            service.process.send_signal(signal.SIGKILL)
            service.process.wait()
            service.start()
            kills += 1
        else:
            proxy = deployment.proxy_of(deployment.primary)
            if chance.random() < 0.5:
                proxy.truncate_after(chance.randrange(1, 4000))
                time.sleep(0.1)
                proxy.pass_through()
            proxy.close_all(reset=chance.random() < 0.5)
            cuts += 1
    return kills, cuts


def remove_budgets(api):
    """What other tests of the deployment report is not to be limited."""
    while items := api.get("/api/v1/budgets", params={"limit": 500}).json()["items"]:
        for budget in items:
            assert api.request("DELETE", f"/api/v1/budgets/{budget['id']}").status_code == 200


def test_no_grant_exceeds_a_limit_and_no_money_stays_held_whoever_dies(deployment):
    seed = int(os.environ.get("COGNIVE_CHAOS_SEED", time.time_ns() % 1_000_000 if LONG else 1))
    print(f"\nseed {seed}")
    chance = random.Random(seed)
    ports = [ReservedPort() for _ in range(3)]  # theirs, also after a kill
    services = [deployment.serve(DATABASE_READ_URLS="", HTTP_PORT=port.number) for port in ports]
    for service in services:
        service.wait_writable()
    api = services[0].api()
    agents = [api.agent()["id"] for _ in range(4)]
    runs = [(agent, api.run(agent)["run_id"]) for agent in agents for _ in range(3)]
    budgets_of(api, agents, runs[0][1])
    sampler = Sampler(deployment.primary.url)
    sampler.start()
    with concurrent.futures.ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        things = ([service.url for service in services], service.key, runs, seed)
        calling = [pool.submit(call_for, SECONDS, process, *things) for process in range(PROCESSES)]
        kills, cuts = break_things(deployment, services, chance, time.monotonic() + SECONDS)
        told = [process.result() for process in calling]
    failures = [failure for _, _, _, failed in told for failure in failed]
    assert not failures, failures[0]
    # What a service still has in hand when its caller leaves is granted all the same: they end first.
    for one in services:
        assert one.stop() == 0
    # So does what was under way to the database when a service died, or still is between the two.
    wait_until(lambda: not deployment.primary.superuser("SELECT FROM pg_stat_activity WHERE usename = 'cognive' AND application_name = 'cognive'"),
               "all that services had begun has ended", 30)
    service = services[0].start()
    service.wait_writable()
    wait_until(lambda: not deployment.primary.sql("SELECT FROM budget_reservations WHERE state = 'held'"), "everything that was held came back", 30)
    sampler.ended.set()
    sampler.join(10)

    said = sum((one[0] for one in told), Counter())
    granted = set().union(*(one[1] for one in told))
    print(f"  {kills} kills, {cuts} cuts, {sampler.looks} looks; answers {dict(said)}; {len(granted)} grants heard of")
    assert not sampler.breaches, sampler.breaches[:5]
    # It was tight: limits were reached, something was refused, and of what was used up nothing was granted from then on.
    assert said[429] > 0 and sampler.nearest > 0.97 and sampler.used_up
    for window, since in sampler.used_up.items():
        late = deployment.primary.sql("SELECT count(*) FROM budget_reservations r JOIN budget_charge_sets c ON c.id = r.charge_set_id "
                                      f"WHERE {window} = ANY (c.windows) AND r.granted_at > '{since.isoformat()}'")
        assert late == [(0,)], window

    # What was acknowledged is there, once.
    stored = {row[0] for row in deployment.primary.sql("SELECT id::text FROM budget_reservations")}
    assert granted <= stored
    for kind, table in (("llm_call", "llm_calls"), ("step", "execution_steps"), ("tool_invocation", "tool_invocations")):
        ids = {event for one in told for type_, event in one[2] if type_ == kind}
        found = {row[0] for row in deployment.primary.sql(f"SELECT id::text FROM {table}")}
        assert ids <= found

    # Every counter is what calls and reservations add up to, as the product finds and as is found here.
    counted, due = recompute(deployment.primary.sql)
    assert counted == due
    assert all(window["reserved"] == 0 for window in counted.values())
    done = deployment.cli("budgets", "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    # One alert for each threshold that was crossed.
    alerts = deployment.primary.sql("SELECT window_id, threshold FROM budget_alerts")
    crossed = deployment.primary.sql("SELECT w.id, t FROM budget_windows w JOIN budget_limits b ON b.id = w.budget_id, unnest(b.thresholds) AS t "
                                     "WHERE w.spent * 100 >= w.limit_amount::numeric * t")
    assert sorted(alerts) == sorted(crossed) and alerts
    remove_budgets(Api(service.url, service.key))
