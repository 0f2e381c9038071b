"""PostgreSQL with TimescaleDB, from npm packages that ./test installs: no package of Debian has it.

    with Timescaledb(directory) as server:
        psycopg2.connect(server.url)

It has one database. One session serves all connections, one after the other, so a second one waits until the first is closed;
no background jobs run.
"""

import contextlib
import re
import subprocess
from pathlib import Path

import psycopg2

from installation import ROOT, wait_until

MODULES = ROOT / "build/npm/node_modules"
# The extension stays: a session can create it once only.
EMPTY = """
DO $$
DECLARE
  statement text;
BEGIN
  FOR statement IN
    SELECT format('DROP TABLE IF EXISTS %s CASCADE', c.oid::regclass) FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    UNION ALL
    SELECT format('DROP FUNCTION %s', p.oid::regprocedure) FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
  LOOP
    EXECUTE statement;
  END LOOP;
END $$
"""


class Timescaledb:
    """The server; `url` is that of its database, in which the extension is created, in some schema."""

    def __init__(self, directory, schema="public"):
        self.log = Path(directory) / "timescaledb.log"
        self.schema = schema
        self.process = None
        self.url = None

    def __enter__(self):
        assert (MODULES.parent / "installed.json").exists(), "the npm packages of the tests are missing: run ./test, or tools/npm_packages.sh"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["node", ROOT / "tests/support/timescaledb.mjs", MODULES], stdin=subprocess.PIPE, stdout=log,
                                            stderr=subprocess.STDOUT)

        def listening():
            assert self.process.poll() is None, f"exited with {self.process.returncode}: {self.log.read_text()}"
            return re.search(r"^listening on (\d+)$", self.log.read_text(), re.M)

        try:
            port = wait_until(listening, "TimescaleDB listens")[1]
            self.url = f"postgresql://postgres:any@127.0.0.1:{port}/template1?sslmode=disable"
            self.sql(f"CREATE SCHEMA IF NOT EXISTS {self.schema}; CREATE EXTENSION timescaledb SCHEMA {self.schema}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def has_crashed(self):
        """Whether its own WebAssembly came to an end that it must not come to, as it does once in a while."""
        return self.process.poll() is not None and "RuntimeError: unreachable" in self.log.read_text()

    def crashes_within(self, seconds):
        """The same, of one whose connections may have ended a moment before it does."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.has_crashed

    def revive(self):
        """Begin anew after a crash."""
        if self.has_crashed:
            self.close()
            self.__enter__()

    def close(self):
        """End it; it has nothing to keep."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def sql(self, statement):
        """The rows of a statement, outside a transaction block."""
        with contextlib.closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def empty(self):
        """Drop everything but the extension."""
        self.sql(EMPTY)
