"""Lists of runs stay fast when there are many: the plans of the real statement, among tens of thousands of ended runs."""

import json
import re

from time_series import AGENT, TEAM

# In the order of the statement's parameters.
PARAMETERS = ["key_team_id", "key_agent_id", "agent_id", "status", "from", "to", "after_time", "after_id", "limit", "team", "parent_run_id", "session_id",
              "environment", "label", "error", "min_cost", "max_cost"]
# What is looked for, rare as it is, and what the name of the index that must lead to it has in every partition.
RARE = [({"min_cost": "49999000"}, "cost_nano_usd_idx"), ({"max_cost": "1000"}, "cost_nano_usd_idx"), ({"error": "'brimstone'"}, "to_tsvector_idx"),
        ({"label": "'{\"tier\": \"7\"}'"}, "labels_idx"), ({"session_id": "'s-77'"}, "session_id_created_at_idx"), ({"status": "'cancelled'"}, "status_created_at_id_idx"),
        ({"parent_run_id": f"'{AGENT}'"}, "parent_run_id_idx")]


def test_what_is_rare_among_many_runs_is_found_by_an_index(database, queries):
    database.migrate("upgrade", "head")
    database.sql(f"INSERT INTO agents (id, team_id, name, framework, environment, status) VALUES ('{AGENT}', '{TEAM}', 'many', 'custom', 'test', 'active')")
    database.sql("INSERT INTO agent_runs (bucket, id, team_id, agent_id, environment, status, started_at, ended_at, created_at, cost_nano_usd, error, labels, "
                 f"session_id) SELECT '9999-12-31', gen_random_uuid(), '{TEAM}', '{AGENT}', 'test', CASE WHEN n = 500 THEN 'cancelled' ELSE 'failed' END, now(), "
                 "now(), now() - n * interval '1 second', n * 1000, CASE n WHEN 400 THEN 'fire and brimstone' ELSE 'timeout ' || n END, "
                 "jsonb_build_object('tier', n::text), 's-' || n FROM generate_series(1, 50000) n")
    database.sql("ANALYZE agent_runs")
    [statement] = [text for found in queries.values() for name, text in found if name == "run_list"]
    for filters, index in RARE:
        values = ", ".join(({"limit": "51"} | filters).get(name, "NULL") for name in PARAMETERS)
        [(plan,)] = database.sql(f"SET plan_cache_mode = force_custom_plan; PREPARE listing AS {statement}; EXPLAIN (FORMAT JSON) EXECUTE listing ({values})")
        used = set(re.findall(r'"Index Name": "(\w+)"', json.dumps(plan)))
        assert any(name.endswith(index) for name in used), (filters, used)
