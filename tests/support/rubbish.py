"""Tables of hostile values: texts, ids, times, JSON texts, queries with the pointers of their faults."""

import json

TEXTS = ["", "x", "a" * 65, "b" * 129, "c" * 257, "d" * 4097, "e" * 100_000, "not-a-uuid", "ü" * 5000, "active ", "ACTIVE",
         "'; DROP TABLE agents; --", "1' OR '1'='1", "$1", "\\", "%s%n", "{}", "../../etc/passwd"]
BAD_UUIDS = ["0", "0123456789abcdef0123456789abcdef", "{01234567-89ab-cdef-0123-456789abcdef}", "01234567-89ab-cdef-0123-456789abcde",
             "01234567-89ab-cdef-0123-456789abcdef0", "01234567-89ab-cdef-0123-456789abcdeg", "urn:uuid:01234567-89ab-cdef-0123-456789abcdef",
             "01234567-89ab-cdef-0123-456789abcdef\n", " 01234567-89ab-cdef-0123-456789abcdef", "0123456-789ab-cdef-0123-456789abcdef",
             "٠1234567-89ab-cdef-0123-456789abcdef"]
BAD_TIMES = ["now", "infinity", "-infinity", "epoch", "1700000000", "2026-11-23", "2026-11-23T10:00:00", "2026-13-01T00:00:00Z",
             "2026-00-01T00:00:00Z", "2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T10:60:00Z",
             "2026-11-23T10:00:61Z", "2026-11-23T10:00:00.Z", "2026-11-23T10:00:00,5Z", "2026-11-23T10:00:00+99:00", "2026-11-23T10:00:00+0100",
             "2026-11-23T10:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "2026-1-1T00:00:00Z",
             "2026-11-23T10:00:00Z\n", " 2026-11-23T10:00:00Z", "2026-11-23T10:00:00ZZ", "2026-11-23T10:00:00 UTC", "2026-W47-1T10:00:00Z",
             "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
TOKENS = ["null", "true", "false", "0", "-0", "-1", "1.5", "1e2", "1e400", "-1e400", "1e-400", "1e99999999999", "9223372036854775807",
          "9223372036854775808", "-9223372036854775809", "123456789012345678901234567890", "0." + "3" * 500, "1" * 10_000,
          "[]", "[null]", "[1]", '["a",2]', "[[]]", '[["a"]]', "[{}]", '["' + "z" * 300 + '"]', json.dumps(["a"] * 257), json.dumps(["a"] * 100_000),
          "{}", '{"a":1}', '{"a":null}', '{"a":{"b":[1]}}', '{"a":-1}', '{"a":1e400}', '{"":"x"}', '{"a":"%s"}' % ("y" * 300), json.dumps({"k" * 200: "v"}),
          json.dumps({f"key{number}": "v" for number in range(1000)}), json.dumps({f"key{number}": 1 for number in range(1000)}),
          json.dumps({"big": "x" * (16 << 10)}), *(json.dumps(text) for text in TEXTS + BAD_UUIDS + BAD_TIMES)]
SQL = ["'; DROP TABLE agents; --", "Robert'); DELETE FROM teams;--", "\" OR \"\"=\"", "1; SELECT pg_sleep(10)", "$$ || version() || $$", "E'\\\\x00'", "${jndi:ldap://x}",
       "{{7*7}}", "<script>alert(1)</script>", "\\N", "{NULL}", "a,b\"c'd\\e", "%", "_", "\u202egnp.exe", "\ufeff", "e\u0301", "\u2028", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
SOME_ID = "0191f8a0-0000-7000-8000-000000000000"
QUERIES = [
    ("/api/v1/agents?nope=1", ["?nope"]),
    ("/api/v1/agents?=1", ["?"]),
    ("/api/v1/agents?limit", ["?limit"]),
    ("/api/v1/agents?limit=1&limit=2", ["?limit"]),
    ("/api/v1/agents?status=sleeping", ["?status"]),
    ("/api/v1/agents?status=", ["?status"]),
    ("/api/v1/agents?name=a%00b", ["?name"]),
    ("/api/v1/agents?a%2Fb=1", ["?a~1b"]),
    ("/api/v1/agents?limit=0&status=x&nope=1&Name=y", ["?Name", "?limit", "?nope", "?status"]),
    ("/api/v1/agents?limit=0&cursor=rubbish", ["?cursor", "?limit"]),
    (f"/api/v1/agents/{SOME_ID}?nope=1", ["?nope"]),
    (f"/api/v1/agents/{SOME_ID}?id={SOME_ID}", ["?id"]),
    ("/api/v1/teams?team=x", ["?team"]),
    ("/api/v1/runs?agent_id=x&status=alive&from=now&to=later", ["?agent_id", "?from", "?status", "?to"]),
    ("/api/v1/runs?from=2026-11-23T10:00:00", ["?from"]),
    ("/api/v1/runs?from=2026-11-23T10:00:00+01:00", ["?from"]),  # an unescaped plus is a space
    ("/api/v1/prices/quote", ["?model"]),
    ("/api/v1/prices/quote?model=", ["?model"]),
    ("/api/v1/prices/quote?model=gpt-4o&input_tokens=-1", ["?usage/input_tokens", "?input_tokens"]),
    ("/api/v1/prices/quote?model=gpt-4o&input_tokens=abc&output_tokens=1.5", None),
    ("/api/v1/prices/quote?model=gpt-4o&made_up_tokens=1", None),
    ("/api/v1/prices/quote?model=gpt-4o&input_tokens=1&input_tokens=2", None),
    ("/api/v1/prices/quote?model=gpt-4o&input_tokens=99999999999999999999", None),
    ("/api/v1/prices/quote?model=gpt-4o&at=tomorrow", ["?at"]),
    ("/api/v1/prices/quote?model=" + "m" * 300, ["?model"]),
    ("/api/v1/analytics/costs?interval=second", ["?interval"]),
    ("/api/v1/analytics/costs?group_by=planet", ["?group_by/0"]),
    ("/api/v1/analytics/costs?group_by=agent,,team", ["?group_by/1"]),
    ("/api/v1/analytics/costs?group_by=agent,team,model,provider,environment,label:x,agent", ["?group_by"]),
    ("/api/v1/analytics/costs?group_by=label:", ["?group_by/0"]),
    ("/api/v1/analytics/costs?group_by=label:x%27;--,label:y", ["?group_by/1"]),
    ("/api/v1/analytics/runs?group_by=label:x", ["?group_by/0"]),
    ("/api/v1/analytics/costs?from=x&to=y&agent_id=z&interval=w&nope=1", ["?agent_id", "?from", "?interval", "?nope", "?to"]),
    ("/api/v1/analytics/runs?group_by=model", ["?group_by/0"]),
    ("/api/v1/analytics/runs?agent_id=%27", ["?agent_id"]),
    ("/api/v1/analytics/coverage?from=0", ["?from"]),
    ("/api/v1/analytics/coverage?limit=1", ["?limit"]),
]
