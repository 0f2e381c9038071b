"""The failover by hand: the commands of docs/operations/failover.md, run as they are written there, by the user that they are for."""

import os
import re
import shlex
import shutil
import subprocess
import threading
import time

import pytest
from installation import BINARY, ROOT, llm_call, wait_until
from postgres import SYSTEM_USER, binaries

DOCUMENT = ROOT / "docs/operations/failover.md"
HANDS_SECONDS = 120


def section(text, title):
    """The text of a section of a Markdown document."""
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", text, re.M | re.S)[1]


class Hand:
    """A command for a shell that does something in this process: what systemctl would do to servers that the tests have to keep an eye on."""

    def __init__(self, directory, name, action):
        self.asked, self.done = directory / f"{name}.asked", directory / f"{name}.done"
        self.path = directory / name
        self.path.write_text(f'#!/bin/sh\n: > "{self.asked}"\nuntil [ -e "{self.done}" ]; do sleep 0.05; done\nrm "{self.asked}" "{self.done}"\n')
        self.path.chmod(0o755)
        self.action = action
        self.count = 0

    def serve(self):
        """Do it, if it has been asked for."""
        if self.asked.exists() and not self.done.exists():
            self.action()
            self.count += 1
            self.done.touch()
            shutil.chown(self.done, SYSTEM_USER)


class Hands(threading.Thread):
    """Serves hands until the block ends; what their actions raise is in `failure`."""

    def __init__(self, *hands):
        super().__init__(daemon=True)
        self.hands = hands
        self.failure = None
        self._ended = threading.Event()

    def run(self):
        while not self._ended.wait(0.02):
            try:
                for hand in self.hands:
                    hand.serve()
            except BaseException as error:  # shown by the test's thread
                self.failure = error
                return

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join(30)


def read_environment(path):
    """The variables of an environment file, as systemd reads it."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if line)


@pytest.fixture
def hands_directory(deployment):
    """A directory of the system user's."""
    directory = deployment.directory / "hands"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    shutil.chown(directory, SYSTEM_USER)
    shutil.copy(BINARY, directory / "cognive")
    return directory


def run_steps(script, variables, directory):
    """Run a script as the system user, in a clean shell."""
    assignments = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in variables.items())
    user = ["setpriv", "--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--init-groups"] if os.geteuid() == 0 else []
    environment = {"PATH": f"{directory}:{binaries()}:/usr/bin:/bin", "HOME": str(directory), "LC_ALL": "C.UTF-8"}
    return subprocess.run([*user, "bash", "-euo", "pipefail", "-c", assignments + script], env=environment, cwd=directory, capture_output=True, text=True,
                          timeout=HANDS_SECONDS)


def test_the_documented_steps_fail_over_lose_nothing_and_end_with_two_replicas(deployment, hands_directory):
    text = section(DOCUMENT.read_text(), "By hand")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    assert blocks[0][0] == "" and all(language == "sh" for language, _ in blocks[1:]) and len(blocks) >= 7
    names = re.findall(r"^(\w+)=", blocks[0][1], re.M)

    old, (new, other) = deployment.primary, deployment.replicas
    environment = deployment.environment()
    env_file = hands_directory / "cognive.env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    shutil.chown(env_file, SYSTEM_USER)
    service = deployment.serve()
    service.wait_ok()
    run = service.api().run(service.api().agent()["id"])["run_id"]
    assert service.api().post("/api/v1/events", json=[llm_call(run)]).json()["accepted"] == 1
    deployment.wait_caught_up()

    def restart_api():
        assert service.stop() == 0
        service.environment = read_environment(env_file)
        service.start()

    restart, start = Hand(hands_directory, "restart-api", restart_api), Hand(hands_directory, "start-old", old.start)
    variables = {
        "OLD_DATA": old.data,
        "OLD_START": start.path,
        "NEW_HOST": deployment.label_of(new),
        "NEW_DATABASE_URL": deployment.url_of(new),
        "NEW_DATABASE_READ_URLS": f"{deployment.url_of(old)},{deployment.url_of(other)}",
        "NEW_ADMIN": f"host={deployment.cluster.sockets} port={new.port} user=postgres dbname=postgres",
        "NEW_REPLICATION": f"host=127.0.0.1 port={new.port} user=replicator passfile={deployment.cluster.passfile}",
        "OTHER_ADMIN": f"host={deployment.cluster.sockets} port={other.port} user=postgres dbname=postgres",
        "OTHER_NAME": other.name,
        "ENV_FILE": env_file,
        "RESTART_API": restart.path,
    }
    assert sorted(variables) == sorted(names), "the test sets what the document lists"

    old.kill()
    wait_until(lambda: service.health().status_code == 503, "the loss is seen", seconds=5)
    begin = time.monotonic()
    urls = {name: environment[name] for name in ("DATABASE_URL", "DATABASE_READ_URLS")}
    with Hands(restart, start) as hands:
        told = run_steps("".join(block for _, block in blocks[1:]), urls | variables, hands_directory)
    deployment.primary, old.upstream, other.upstream, new.upstream = new, new, new, None
    try:
        assert hands.failure is None, hands.failure
        assert told.returncode == 0, told.stdout + told.stderr
        print(f"\nthe documented steps took {time.monotonic() - begin:.1f} s")
        assert restart.count == 1 and start.count == 1
        assert read_environment(env_file) == environment | {"HTTP_PORT": "0", "DATABASE_PROBE_INTERVAL_MS": str(environment["DATABASE_PROBE_INTERVAL_MS"]),
                                                            "DATABASE_URL": variables["NEW_DATABASE_URL"],
                                                            "DATABASE_READ_URLS": variables["NEW_DATABASE_READ_URLS"]}
        service.wait_ok()
        page = service.health().json()
        assert page["primary"]["url"].endswith(f":{deployment.proxy_of(new).port}/cognive")
        assert [replica["state"] for replica in page["replicas"]] == ["streaming", "streaming"]
        assert sorted(name for (name,) in new.superuser("SELECT application_name FROM pg_stat_replication")) == sorted(["old_primary", other.name])
        detail = service.api().get(f"/api/v1/runs/{run}").json()
        assert detail["totals"]["llm_calls"] == 1
        assert service.api().post("/api/v1/events", json=[llm_call(run)]).json()["accepted"] == 1
        deployment.wait_caught_up()
        for node in deployment.nodes:
            assert node.sql("SELECT count(*) FROM llm_calls WHERE run_id = %s", (run,)) == [(2,)]
        # The last step shows all of them to whoever follows the steps.
        table = told.stdout.rsplit("host ", 1)[1]
        assert all(deployment.label_of(node) in table for node in deployment.nodes) and "outdated" not in table
    finally:
        shutil.rmtree(old.data.with_name(f"{old.data.name}.lost"), ignore_errors=True)
        old.reseed_from(new)
        new.superuser("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'old_primary' AND NOT active")
