"""kill -9 of the server and of PostgreSQL at random moments under load: what was acknowledged is stored, nothing twice, rollups agree exactly, also while calls are repriced.

COGNIVE_LONG=1 makes it 20 rounds instead of 3; the seed of all choices is printed, and COGNIVE_CHAOS_SEED sets it.
"""

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import psycopg2
import requests
from installation import llm_call, wait_until
from ledger import ledger
from load import Load
from reports import run_of, step, tool
from wire import check_problem

ROUNDS = 20 if os.environ.get("COGNIVE_LONG") == "1" else 3
THREADS = 8
TABLES = {"llm_call": "llm_calls", "tool_invocation": "tool_invocations", "step": "execution_steps"}
MODELS = (("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("openai", "no-such-model"), ("nobody", "nothing"))
REPRICED = "gpt-4o-mini"
SIZES, SIZE_WEIGHTS = (1, 20, 100), (5, 3, 1)
REPEAT_CHANCE = 0.15
PAUSE_SECONDS = 0.01  # of a thread after each request, so that checks have their share of the machine
BACK_SECONDS = 40  # until acknowledgements come again after a kill


class Batch:
    """Events that are always sent together, and what the answers said of them."""

    def __init__(self, events):
        self.events = events
        self.attempts = 0
        self.answers = 0
        self.accepted = 0  # by all answers together

    @property
    def acknowledged(self):
        """Whether any answer has said that they are stored."""
        return self.answers > 0


class Senders:
    """What the threads of a Load send: new batches, each until it is acknowledged, and now and then one that was sent before."""

    def __init__(self, installation, runs, seed):
        self.installation, self.runs = installation, runs
        self.batches = []
        self._lock = threading.Lock()
        self._chances = [random.Random(f"{seed}/{number}") for number in range(THREADS)]
        self._apis = [installation.api() for _ in range(THREADS)]
        self._pending = [None] * THREADS

    def send(self, number, _):
        """One attempt of a thread; the answer."""
        chance = self._chances[number]
        if self._pending[number] is None:
            again = self.batches and chance.random() < REPEAT_CHANCE
            self._pending[number] = chance.choice(self.batches) if again else self.new_batch(chance)
        answer = self.attempt(self._apis[number], self._pending[number])
        if answer.status_code == 200:
            self._pending[number] = None
        return answer

    def new_batch(self, chance):
        """A batch of events that were never sent."""
        batch = Batch([self.new_event(chance) for _ in range(*chance.choices(SIZES, SIZE_WEIGHTS))])
        with self._lock:
            self.batches.append(batch)
        return batch

    def new_event(self, chance):
        """An event of any kind; some have no time of their own."""
        run = chance.choice(self.runs)
        day, second, micros = chance.randrange(18, 24), chance.randrange(86400), chance.randrange(1_000_000)
        stamp = f"2026-11-{day}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{micros:06}Z"
        common = {"timestamp": None if chance.random() < 0.1 else stamp, "duration_ms": chance.choice((None, chance.randrange(60_000)))}
        kind = chance.random()
        if kind < 0.15:
            return step(run, index=chance.randrange(1000), **common)
        if kind < 0.3:
            return tool(run, **common)
        provider, model = chance.choice(MODELS)
        usage = {"input_tokens": chance.randrange(100_000), "output_tokens": chance.randrange(10_000)}
        return llm_call(run, provider=provider, model=model, usage=usage, status=chance.choice(("ok", "ok", "error")), **common)

    def attempt(self, api, batch):
        """Send a batch once; the answer, which must be an acknowledgement of all of it or a proper refusal."""
        api.url = self.installation.url  # a restart moves it
        with self._lock:
            first, known = batch.attempts == 0, batch.acknowledged
            batch.attempts += 1
        answer = api.post("/api/v1/events", json=batch.events)
        if answer.status_code != 200:
            check_problem(answer, 503)
            return answer
        body, size = answer.json(), len(batch.events)
        assert body["rejected"] == [] and body["accepted"] + body["duplicates"] == size, body
        with self._lock:
            batch.answers += 1
            batch.accepted += body["accepted"]
            assert batch.accepted <= size, f"accepted twice: {body}"
            assert not known or body["accepted"] == 0, f"accepted again after an acknowledgement: {body}"
            # Nothing else can have stored it, unless another thread has repeated it meanwhile.
            assert not first or batch.attempts > 1 or body["accepted"] == size, f"never sent before: {body}"
        return answer

    def finish(self):
        """Repeat what is not acknowledged until it is, while nothing breaks."""
        open_ones = [batch for batch in self.batches if not batch.acknowledged]
        for batch in open_ones:
            wait_until(lambda batch=batch: self.attempt(self._apis[0], batch).status_code == 200, "the rest acknowledged", BACK_SECONDS)
        return len(open_ones)

    def acknowledged(self):
        """How many batches are acknowledged."""
        return sum(batch.acknowledged for batch in list(self.batches))

    def keys(self, acknowledged_only):
        """By kind, (run id, event id) of what was sent."""
        found = {kind: set() for kind in TABLES}
        for batch in list(self.batches):
            if batch.acknowledged or not acknowledged_only:
                for event in batch.events:
                    found[event["type"]].add((event["run_id"], event["id"]))
        return found


def postgres_processes(installation):
    """The ids of PostgreSQL's processes, the postmaster first: all work in its data directory."""
    data = installation.directory / "postgres/primary"
    with contextlib.suppress(OSError, ValueError, IndexError):
        yield int((data / "postmaster.pid").read_text().split()[0])
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(data):
                yield int(entry.name)


def kill_postgres(installation, postmaster_only=False):
    """SIGKILL PostgreSQL, the postmaster first so that it starts nothing any more."""
    for pid in list(postgres_processes(installation))[:1 if postmaster_only else None]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_server(installation):
    """SIGKILL `cognive up`; its PostgreSQL may still be ending when this returns."""
    installation.stop(signal.SIGKILL)


def kill_everything(installation):
    """SIGKILL both at the same time, as when a machine kills all that it runs."""
    installation.process.kill()
    kill_postgres(installation)
    installation.stop(signal.SIGKILL)


KILLS = {"the server": kill_server, "PostgreSQL": kill_postgres, "everything": kill_everything,
         "the postmaster": lambda installation: kill_postgres(installation, postmaster_only=True)}


def database_answers(installation):
    """Whether PostgreSQL takes connections."""
    with contextlib.suppress(psycopg2.OperationalError):
        return installation.sql("SELECT 1") == [(1,)]


def check_stored(installation, senders):
    """All that was acknowledged before is stored, once; nothing that has not been sent. How many calls there are at least, and at most."""
    acknowledged = senders.keys(acknowledged_only=True)
    stored = {kind: Counter(installation.sql(f"SELECT run_id::text, id::text FROM {table}")) for kind, table in TABLES.items()}
    sent = senders.keys(acknowledged_only=False)
    for kind, rows in stored.items():
        twice = [key for key, count in rows.items() if count > 1]
        assert not twice, f"{len(twice)} {kind} stored twice: {twice[:5]}"
        lost = acknowledged[kind] - rows.keys()
        assert not lost, f"{len(lost)} of {len(acknowledged[kind])} acknowledged {kind} lost: {list(lost)[:5]}"
        foreign = rows.keys() - sent[kind]
        assert not foreign, f"{len(foreign)} {kind} stored that nobody sent: {list(foreign)[:5]}"
    return len(stored["llm_call"])


def verify(installation, senders, at_least):
    """`cognive rollups verify`, which may run under load: it agrees, and has all calls that were there before."""
    done = installation.cli("rollups", "verify", "--data", installation.directory, "--json", "--from", "2020-01-01")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert found["agrees"] is True and found["disagreements"] == [], found
    assert at_least <= found["calls"] <= len(senders.keys(acknowledged_only=False)["llm_call"]), found
    return found["calls"]


def reprice_often(installation, seed, ended):
    """Give one of the models another price and charge its calls again, over and over until told to end; how often that went through.

    Whatever is killed may interrupt it, and nobody repeats it.
    """
    chance = random.Random(f"{seed}/prices")
    api = installation.api()
    done = 0
    while not ended.is_set():
        api.url = installation.url
        rates = {"input_mtok": chance.randrange(1, 100), "output_mtok": chance.randrange(1, 100)}
        with contextlib.suppress(requests.RequestException):
            api.post("/api/v1/prices/overrides", json={"provider": "openai", "model": REPRICED, "rates": rates, "effective_from": "2026-11-01T00:00:00Z"})
            answer = api.post("/api/v1/prices/reprice", json={"from": "2026-11-18T00:00:00Z", "to": "2026-11-24T00:00:00Z", "model": REPRICED})
            done += answer.status_code == 200
        ended.wait(0.3)
    return done


def deltas(installation):
    """How many deltas are not folded yet."""
    return installation.sql("SELECT count(*) FROM usage_unfolded")[0][0]


def check_sums(installation):
    """Analytics and the totals of runs say what the ledger says."""
    charged = ledger(installation)
    calls, nanos = len(charged), sum(call["cost"] for call in charged)
    answer = installation.api().get("/api/v1/analytics/costs")
    assert answer.status_code == 200, answer.text
    total = json.loads(answer.text, parse_float=Decimal)["total"]
    assert (total["calls"], Decimal(total["cost_usd"]) * 1_000_000_000) == (calls, nanos)
    for run, count in installation.sql("SELECT run_id::text, count(*) FROM llm_calls GROUP BY run_id"):
        assert run_of(installation.api(), run)["totals"]["llm_calls"] == count
    return calls, nanos


def test_what_is_acknowledged_is_stored_exactly_once_whatever_is_killed(fresh):
    seed = int(os.environ.get("COGNIVE_CHAOS_SEED", 1))
    chance = random.Random(seed)
    print(f"\nseed {seed}")
    begin = time.monotonic()
    installation = fresh().start()
    api = installation.api()
    senders = Senders(installation, [api.run(agent)["run_id"] for agent in (api.agent()["id"] for _ in range(3)) for _ in range(2)], seed)

    ended = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool, Load(senders.send, THREADS, PAUSE_SECONDS) as load, contextlib.ExitStack() as stack:
        repricing = pool.submit(reprice_often, installation, seed, ended)
        stack.callback(ended.set)

        def wait_progress(batches, seconds):
            before = senders.acknowledged()

            def further():
                assert not load.failures, load.failures[0]
                assert installation.process.poll() is None, Path(installation.log.name).read_text()
                return senders.acknowledged() >= before + batches

            wait_until(further, "batches acknowledged", seconds)

        wait_progress(20, 20)
        for number in range(ROUNDS):
            time.sleep(chance.uniform(0.2, 1.5))
            victim = list(KILLS)[number % len(KILLS)]
            KILLS[victim](installation)
            killed = time.monotonic()
            if installation.process is None:
                installation.start()  # PostgreSQL alone comes back by itself
            wait_until(lambda: load.first(200, killed) or load.failures, "an acknowledgement", BACK_SECONDS)
            back = time.monotonic() - killed
            # Without a postmaster, a session that there is can acknowledge a last time.
            wait_until(lambda: database_answers(installation), "PostgreSQL takes connections", BACK_SECONDS)
            wait_progress(2 * THREADS, BACK_SECONDS)
            unfolded = deltas(installation)
            calls = verify(installation, senders, check_stored(installation, senders))
            print(f"  {victim} killed, acknowledgements again after {back:.2f} s; then {calls} calls agree, {unfolded} deltas not folded; "
                  f"answers {load.statuses(killed)}")
    adjusted = installation.sql("SELECT count(*) FROM charge_adjustments")[0][0]
    print(f"  repriced {repricing.result()} times, {adjusted} charges adjusted")
    assert repricing.result() > 0 and adjusted > 0
    repeated = senders.finish()
    for settled in (False, True):
        if settled:
            wait_until(lambda: deltas(installation) == 0, "all deltas folded", BACK_SECONDS)
        unfolded = deltas(installation)
        stored = check_stored(installation, senders)
        assert verify(installation, senders, stored) == stored
        calls, nanos = check_sums(installation)
        assert calls == stored and nanos > 0
        print(f"  at the end {calls} calls of {nanos / 1_000_000_000} USD agree, {unfolded} deltas not folded")
    assert senders.keys(acknowledged_only=True) == senders.keys(acknowledged_only=False)
    unanswered = [batch for batch in senders.batches if batch.accepted < len(batch.events)]
    print(f"  {len(senders.batches)} batches, {repeated} repeated at the end, {len(unanswered)} stored by a request whose answer was lost, "
          f"{sum(batch.answers > 1 for batch in senders.batches)} acknowledged more than once, {time.monotonic() - begin:.0f} s in all")
