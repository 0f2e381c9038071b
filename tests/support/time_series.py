"""Rows of the four tables that are partitioned by day, of every kind of id, for tests of their partitions."""

import datetime
import re
import time
import uuid

from installation import uuid7

SERIES = ("agent_runs", "execution_steps", "llm_calls", "tool_invocations")
TEAM = "00000000-0000-7000-8000-000000000001"  # the first revision makes it
AGENT = "0191f8a0-0000-7000-8000-00000000a9e7"
RUN = "0191f8a0-0000-7000-8000-000000000001"
PLAIN = "c718"  # the last revision with plain tables
DAY_MS = 86_400_000
UNDATED = datetime.date(9999, 12, 31)
BEGINNING = datetime.date(1970, 1, 1)
# What a row must have besides its bucket and ids.
CONTENT = {
    "agent_runs": {"environment": "test", "status": "running", "started_at": "2026-11-23T06:00:00Z"},
    "execution_steps": {"timestamp": "2026-11-23T06:00:00Z", "index": 0, "kind": "plan", "name": "think", "content_hash": 7},
    "llm_calls": {"environment": "test", "timestamp": "2026-11-23T06:00:00Z", "model": "gpt-4o", "status": "succeeded", "input_tokens": 10,
                  "output_tokens": 20, "cache_read_tokens": 0, "cache_write_tokens": 0, "price_status": "priced", "cost_nano_usd": 12345,
                  "usage": '{"images": 2}', "content_hash": 7},
    "tool_invocations": {"timestamp": "2026-11-23T06:00:00Z", "tool": "search", "status": "succeeded", "content_hash": 7},
}


def today():
    """The day of the partitions, which is UTC's."""
    return datetime.datetime.now(datetime.UTC).date()


def id_of_day(days):
    """A new version-7 id of a day relative to today."""
    return uuid7(int(time.time() * 1000) + days * DAY_MS)


def ids_of_all_kinds():
    """New ids, each with its bucket before the tables had partitions, and since."""
    def day(milliseconds):
        return (datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=milliseconds)).date()

    now = int(time.time() * 1000)
    dated = [now, now - DAY_MS, now - 40 * DAY_MS, now - 89 * DAY_MS, now - 400 * DAY_MS, now + DAY_MS, now + 7 * DAY_MS, now + 20 * DAY_MS,
             1577836800000, 4102444799999]  # the first and the last millisecond that count as a clock's
    others = [0, 1577836799999, 4102444800000, 1561939200000, 5680281600000, 253402300799999]  # 2019, 2150, and the end of 9999
    return ([(uuid7(each), day(each), day(each)) for each in dated] + [(uuid7(each), day(each), UNDATED) for each in others]
            + [(str(uuid.uuid4()), BEGINNING, UNDATED), (str(uuid.uuid1()), BEGINNING, UNDATED), (uuid7(2**48 - 1), BEGINNING, UNDATED)])


def bucket_of(identifier):
    """The bucket of an id since the tables have partitions."""
    parsed = uuid.UUID(identifier)
    if parsed.version != 7 or not 1577836800000 <= parsed.int >> 80 < 4102444800000:
        return UNDATED
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=parsed.int >> 80)).date()


def values_of(table, identifier, bucket=None):
    """A row by column."""
    row = {"bucket": bucket or bucket_of(identifier), "id": identifier, "team_id": TEAM, "agent_id": AGENT} | CONTENT[table]
    return row if table == "agent_runs" else row | {"run_id": RUN}


def insert_text(table, identifiers, buckets=None):
    """The statement that inserts rows of some ids, with their buckets or others."""
    rows = [values_of(table, each, buckets and buckets[number]) for number, each in enumerate(identifiers)]
    columns = ", ".join(f'"{name}"' for name in rows[0])
    return f"INSERT INTO {table} ({columns}) VALUES " + ", ".join("(" + ", ".join(f"'{value}'" for value in row.values()) + ")" for row in rows)


def add_agent(database):
    """The agent of all the rows."""
    database.sql(f"INSERT INTO agents (id, team_id, name, framework, environment, status) VALUES ('{AGENT}', '{TEAM}', 'a', 'none', 'test', 'active')")


def all_rows(database, but_bucket=False):
    """Every row of the four tables as text; equal databases give equal lists.

    With `but_bucket` also those that differ in what later revisions add: the bucket, and columns that no row has a value of yet.
    """
    what = "jsonb_strip_nulls(to_jsonb(t) - 'bucket')::text" if but_bucket else "to_jsonb(t)::text"
    return {table: [row for (row,) in database.sql(f"SELECT {what} FROM {table} t ORDER BY 1")] for table in SERIES}


def buckets(database, table):
    """The bucket of each id in a table."""
    found = database.sql(f"SELECT id::text, bucket FROM {table}")
    assert len(found) == len(dict(found)), "an id twice"
    return dict(found)


def columns(database):
    """The columns of the four tables, in their order, with all that is said of them."""
    return database.sql("""
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
               col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname IN ('agent_runs', 'execution_steps', 'llm_calls', 'tool_invocations')
        ORDER BY 1, a.attnum""")


def rules(database):
    """The constraints and indexes of the four tables; those of partitions and chunks are not theirs."""
    return database.sql("""
        SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid IN ('agent_runs'::regclass, 'execution_steps'::regclass, 'llm_calls'::regclass, 'tool_invocations'::regclass)
        UNION ALL
        SELECT tablename::text, indexname::text, replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes WHERE schemaname = 'public'
          AND tablename IN ('agent_runs', 'execution_steps', 'llm_calls', 'tool_invocations')
        ORDER BY 1, 2, 3""")


def store(database, queries, name, rows):
    """Run one of the product's queries that insert arrays, with rows by column; what it returns."""
    statement = next(text for found in queries.values() for query, text in found if query == name)
    names = [column.strip().strip('"') for column in re.match(r"INSERT INTO \w+ \(([^)]*)\)", statement)[1].split(",")]
    count = max(map(int, re.findall(r"\$(\d+)", statement)))

    def element(value):
        return "NULL" if value is None else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'

    arrays = ", ".join("'{" + ",".join(element(row.get(column)) for row in rows) + "}'" for column in names[:count])
    return database.sql(f"PREPARE stored AS {statement}; EXECUTE stored ({arrays})")
