#!/usr/bin/python3
"""Tasks a second, and memory, of `cognive worker` and of Celery's own prefork worker, on the same task that does nothing.

    cmake --build build/release --target cognive && bench/tasks.py

A RabbitMQ, a Redis and a `cognive up` of its own; in turns, each worker finds a queue that is full of tasks and empties it. Time counts from the first
result in Redis to the last, so that neither the start of a worker nor the sending is in it. Memory is the proportional set size of all processes of
the worker, the highest of four looks a second. What is missing or done twice is an error: exit code 1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from celery import Celery  # noqa: E402
from redis import Redis  # noqa: E402

from installation import Installation, wait_until  # noqa: E402
from rabbitmq_server import RabbitMqServer  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from workers import Worker  # noqa: E402

PATIENCE_SECONDS = 300
QUEUE = "celery"

# The same answer as ours; a result as small as its argument.
PROGRAM = """
import socket
from celery import Celery
app = Celery("bench", broker={broker!r}, backend={backend!r})
app.conf.update(task_acks_late={late!r}, worker_prefetch_multiplier={prefetch}, broker_connection_retry_on_startup=True)
@app.task(name="cognive.ping")
def ping(x):
    return {{"pong": x, "host": socket.gethostname()}}
"""


def arguments():
    """What was asked for."""
    parser = argparse.ArgumentParser(description=textwrap.dedent(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=5_000, help="in the queue for each turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each way; the median is told (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[2, 8], help="slots of a worker (default: 2 8)")
    parser.add_argument("--ours-only", action="store_true", help="leave Celery out, to see whether something changed")
    parser.add_argument("--json", action="store_true", help="everything, for scripts")
    return parser.parse_args()


def tree(pid):
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += tree(int(child))
    return found


def memory(pid):
    """Proportional set size of a process and its descendants, in MiB."""
    total = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has just ended
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


class Bench:
    """The servers, and one turn of each way."""

    def __init__(self, directory, installation, broker, redis, tasks):
        self.directory, self.installation, self.broker, self.redis, self.tasks = directory, installation, broker, redis, tasks
        self.stored = Redis(unix_socket_path=str(redis.socket))
        self.app = Celery("sender", broker=broker.url(), backend=redis.url())

    def fill(self):
        """A queue full of tasks, and no results."""
        self.stored.flushall()
        with self.app.producer_or_acquire() as producer:
            for number in range(self.tasks):
                self.app.send_task("cognive.ping", [number], producer=producer, queue=QUEUE)

    def results(self):
        """How many there are."""
        return self.stored.dbsize()

    def drain(self, pid):
        """Watch a worker empty the queue: tasks a second, and its memory."""
        highest, watching = [memory(pid)], threading.Event()

        def watch():
            while not watching.wait(0.25):
                highest.append(memory(pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            before = wait_until(self.results, "the first result", 60)
            begun = time.monotonic()
            deadline = begun + PATIENCE_SECONDS
            while (count := self.results()) < self.tasks and time.monotonic() < deadline:
                time.sleep(0.02)
            seconds = time.monotonic() - begun
        finally:
            watching.set()
            watcher.join()
        return (count - before) / seconds, max(highest)

    def ours(self, concurrency):
        """A turn of `cognive worker`."""
        variables = {name: value for name, value in self.installation.variables.items() if name.startswith("DATABASE_") or name == "COGNIVE_MASTER_KEY_FILE"}
        with Worker(self.directory, "--concurrency", concurrency, **variables, RABBITMQ_URL=self.broker.url(), REDIS_URL=self.redis.url()) as worker:
            rate, highest = self.drain(worker.process.pid)
            wait_until(lambda: worker.metric("celery_tasks_total", task_name="cognive.ping", status="success") == self.tasks, "each is done once", 20)
        return rate, highest

    def celery(self, concurrency, late):
        """A turn of Celery's worker; `late`: it acknowledges what it has done, as ours does, and loses nothing when it is killed."""
        program = self.directory / "bench_program.py"
        program.write_text(PROGRAM.format(broker=self.broker.url(), backend=self.redis.url(), late=late, prefetch=4))
        command = [sys.executable, "-m", "celery", "-A", "bench_program", "worker", "--pool", "prefork", "--concurrency", str(concurrency), "--loglevel", "WARNING",
                   "--queues", QUEUE, "--without-gossip", "--without-mingle"]
        with open(self.directory / "celery.log", "a") as log:
            process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log, env=os.environ | {"C_FORCE_ROOT": "1"})
        try:
            return self.drain(process.pid)
        finally:
            process.terminate()
            process.wait(timeout=30)


def main():
    """Measure and tell."""
    wanted = arguments()
    ways = [("cognive worker", lambda bench, slots: bench.ours(slots))]
    if not wanted.ours_only:
        ways += [("celery prefork, acks_late", lambda bench, slots: bench.celery(slots, late=True)), ("celery prefork", lambda bench, slots: bench.celery(slots, late=False))]
    measured = []
    with tempfile.TemporaryDirectory(prefix="cognive-bench-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        installation = Installation(directory / "installation").start()
        try:
            with RabbitMqServer(directory) as broker, RedisServer(directory) as redis:
                bench = Bench(directory, installation, broker, redis, wanted.tasks)
                for slots in wanted.concurrency:
                    turns = {way: [] for way, _ in ways}
                    for number in range(wanted.rounds):
                        for way, turn in ways:
                            if sys.stderr.isatty():
                                print(f"\r\033[K{slots} slots, round {number + 1} of {wanted.rounds}: {way}", end="", file=sys.stderr, flush=True)
                            bench.fill()
                            turns[way].append(turn(bench, slots))
                    measured += [{"slots": slots, "way": way, "tasks_per_second": statistics.median(rate for rate, _ in turns[way]),
                                  "memory_mib": max(highest for _, highest in turns[way])} for way, _ in ways]
                bench.app.close()
        finally:
            installation.stop()
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if wanted.json:
        print(json.dumps({"tasks": wanted.tasks, "rounds": wanted.rounds, "processors": os.cpu_count(), "load_before": os.getloadavg()[0], "measured": measured}, indent=2))
        return
    print("| slots | worker | tasks/s | of Celery's acks_late | memory MiB |\n|--:|---|--:|--:|--:|")
    for one in measured:
        peer = next((other for other in measured if other["slots"] == one["slots"] and "acks_late" in other["way"]), None)
        ratio = f"{one['tasks_per_second'] / peer['tasks_per_second']:.2f}" if peer else ""
        print(f"| {one['slots']} | {one['way']} | {one['tasks_per_second']:,.0f} | {ratio} | {one['memory_mib']:.0f} |")


if __name__ == "__main__":
    main()
