"""A database of the test's own to migrate, and a directory of revisions to write to."""

import contextlib
import re
import shutil
import subprocess
import uuid

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from installation import BINARY, ROOT, clean_environment
from named_queries import named_queries
from timescaledb import Timescaledb


@pytest.fixture
def workplace(tmp_path):
    """Where commands run: not the repository, whose migrations/ the binary would take for the ones to work on."""
    directory = tmp_path / "workplace"
    directory.mkdir()
    return directory


@pytest.fixture
def migrations(workplace):
    """A copy of the repository's revisions, which the binary finds by itself."""
    return shutil.copytree(ROOT / "migrations", workplace / "migrations")


@pytest.fixture
def new_database(installation, workplace):
    """Makes databases in the shared PostgreSQL, empty and owned by role cognive."""
    parts = parse_dsn(installation.variables["DATABASE_URL"])
    admin = psycopg2.connect(make_dsn(host=installation.directory / "run", port=parts["port"], user="postgres", dbname="postgres"))
    admin.autocommit = True
    names = []

    def make():
        name = "migrate_" + uuid.uuid4().hex
        with admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} OWNER cognive")
        names.append(name)
        return Database(installation.variables["DATABASE_URL"].rsplit("/", 1)[0] + "/" + name, workplace)

    yield make
    with admin.cursor() as cursor:
        for name in names:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    admin.close()


@pytest.fixture
def database(new_database):
    """One of them."""
    return new_database()


EMULATOR_CRASHES_MAX = 2
crashes = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A crash of what stands in for TimescaleDB says nothing of ours, unless it happens again and again."""
    report = (yield).get_result()
    server = getattr(item, "funcargs", {}).get("timescaledb")
    if report.failed and server is not None and server.crashes_within(3):
        crashes.append(item.nodeid)
        if len(crashes) <= EMULATOR_CRASHES_MAX:
            report.outcome, report.wasxfail = "skipped", "the emulator of TimescaleDB has crashed"


@pytest.fixture(scope="session")
def timescaledb(shared_directory):
    """A server with TimescaleDB, created in its one database."""
    with Timescaledb(shared_directory) as server:
        yield server


@pytest.fixture
def database_at(workplace):
    """Any database, by its URL."""
    return lambda url: Database(url, workplace)


@pytest.fixture
def hyper_database(timescaledb, database_at):
    """That database, with nothing in it but the extension."""
    timescaledb.revive()
    timescaledb.empty()
    return database_at(timescaledb.url)


@pytest.fixture(scope="session")
def queries():
    """All named queries of the product, by file: (name, statement)."""
    return named_queries()


@pytest.fixture
def revisions(database):
    """The ids of the revisions, the first one first."""
    lines = database.migrate("history").splitlines()
    ids = [line.split()[0] for line in lines if re.match(r"\d{8}_", line)]
    assert ids
    return ids[::-1]


class Database:
    """A database and the command that moves it."""

    def __init__(self, url, workplace):
        self.url = url
        self.workplace = workplace
        self.env = clean_environment(DATABASE_URL=url, COGNIVE_DATA=workplace / "data")

    def run(self, *verb, program=(BINARY, "migrate")):
        """A verb to its end; its result has stdout, stderr and returncode."""
        return subprocess.run([*program, *verb], env=self.env, cwd=self.workplace, capture_output=True, text=True, timeout=60)

    def start(self, *verb):
        """A verb that the test goes on beside."""
        return subprocess.Popen([BINARY, "migrate", *verb], env=self.env, cwd=self.workplace, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def migrate(self, *verb, status=0, program=(BINARY, "migrate")):
        """What a verb prints; when it is to fail, what it complains about."""
        done = self.run(*verb, program=program)
        assert done.returncode == status, done.stdout + done.stderr
        if status:
            assert re.match(r"(using the revisions of [^\n]+\n)?cognive: \S[^\n]+\n", done.stderr), done.stderr
        return done.stderr if status else done.stdout

    def sql(self, statement):
        """The rows of a statement."""
        with contextlib.closing(psycopg2.connect(self.url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def procedure(self, call):
        """Call a procedure that commits by itself."""
        with contextlib.closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(call)

    def dump(self, *flags):
        """What pg_dump writes."""
        return subprocess.run(["pg_dump", *flags, "--dbname", self.url], capture_output=True, text=True, timeout=60, check=True).stdout

    def load(self, text):
        """Run a text with psql; it must not fail."""
        subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", self.url], input=text, capture_output=True, text=True, timeout=60, check=True)

    def catalogue(self, *flags):
        """Everything but rows, as lines that can be compared."""
        # Every dump has a random word of its own.
        return [line for line in self.dump("--schema-only", *flags).splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
