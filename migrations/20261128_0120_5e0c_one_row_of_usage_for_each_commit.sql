-- revision: 20261128_0120_5e0c
-- down: 20261124_1927_80f0
-- message: one row of usage for each commit
-- transaction: yes
-- upgrade
CREATE TABLE usage_commits (
  sums bigint NOT NULL,
  hour timestamp with time zone[] NOT NULL,
  team_id uuid[] NOT NULL,
  agent_id uuid[] NOT NULL,
  environment text[] NOT NULL,
  provider text[] NOT NULL,
  model text[] NOT NULL,
  price_status text[] NOT NULL,
  calls bigint[] NOT NULL,
  errors bigint[] NOT NULL,
  usage_calls bigint[] NOT NULL,
  input_tokens bigint[] NOT NULL,
  output_tokens bigint[] NOT NULL,
  cache_read_tokens bigint[] NOT NULL,
  cache_write_tokens bigint[] NOT NULL,
  cost_nano_usd bigint[] NOT NULL,
  first_at timestamp with time zone[] NOT NULL,
  last_at timestamp with time zone[] NOT NULL,
  latency_buckets text[] NOT NULL,
  latency_counts text[] NOT NULL
);
COMMENT ON TABLE usage_commits IS 'What commits have added since it was last folded into usage_aggregations, a row for each: arrays have one item for each sum';
COMMENT ON COLUMN usage_commits.sums IS 'How many items each array has';
COMMENT ON COLUMN usage_commits.provider IS 'Empty: not known';
COMMENT ON COLUMN usage_commits.usage_calls IS 'Calls whose usage is known';
COMMENT ON COLUMN usage_commits.cost_nano_usd IS '1e-9 USD';
COMMENT ON COLUMN usage_commits.first_at IS 'No call is earlier';
COMMENT ON COLUMN usage_commits.last_at IS 'No call is later';
COMMENT ON COLUMN usage_commits.latency_buckets IS 'Of the durations that are known; bounds are in src/rollups/latency.cpp';
COMMENT ON COLUMN usage_commits.latency_counts IS 'Calls in each of latency_buckets';
ALTER TABLE usage_commits SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 5000);
-- Rows live for seconds: to compress them would take several times as long as to write them.
ALTER TABLE usage_commits ALTER COLUMN hour SET STORAGE EXTERNAL,
  ALTER COLUMN team_id SET STORAGE EXTERNAL,
  ALTER COLUMN agent_id SET STORAGE EXTERNAL,
  ALTER COLUMN environment SET STORAGE EXTERNAL,
  ALTER COLUMN provider SET STORAGE EXTERNAL,
  ALTER COLUMN model SET STORAGE EXTERNAL,
  ALTER COLUMN price_status SET STORAGE EXTERNAL,
  ALTER COLUMN calls SET STORAGE EXTERNAL,
  ALTER COLUMN errors SET STORAGE EXTERNAL,
  ALTER COLUMN usage_calls SET STORAGE EXTERNAL,
  ALTER COLUMN input_tokens SET STORAGE EXTERNAL,
  ALTER COLUMN output_tokens SET STORAGE EXTERNAL,
  ALTER COLUMN cache_read_tokens SET STORAGE EXTERNAL,
  ALTER COLUMN cache_write_tokens SET STORAGE EXTERNAL,
  ALTER COLUMN cost_nano_usd SET STORAGE EXTERNAL,
  ALTER COLUMN first_at SET STORAGE EXTERNAL,
  ALTER COLUMN last_at SET STORAGE EXTERNAL,
  ALTER COLUMN latency_buckets SET STORAGE EXTERNAL,
  ALTER COLUMN latency_counts SET STORAGE EXTERNAL;
-- Whoever writes calls meanwhile would add to a table that is about to go.
LOCK TABLE usage_deltas IN ACCESS EXCLUSIVE MODE;
INSERT INTO usage_commits (sums, hour, team_id, agent_id, environment, provider, model, price_status, calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd, first_at, last_at, latency_buckets, latency_counts)
SELECT count(*), array_agg(hour), array_agg(team_id), array_agg(agent_id), array_agg(environment), array_agg(provider), array_agg(model), array_agg(price_status), array_agg(calls), array_agg(errors), array_agg(usage_calls), array_agg(input_tokens), array_agg(output_tokens), array_agg(cache_read_tokens), array_agg(cache_write_tokens), array_agg(cost_nano_usd), array_agg(first_at), array_agg(last_at), array_agg(latency_buckets::text), array_agg(latency_counts::text)
FROM usage_deltas HAVING count(*) > 0;
DROP TABLE usage_deltas;
CREATE VIEW usage_deltas AS SELECT item.hour, item.team_id, item.agent_id, item.environment, item.provider, item.model, item.price_status, item.calls, item.errors, item.usage_calls, item.input_tokens, item.output_tokens, item.cache_read_tokens, item.cache_write_tokens, item.cost_nano_usd, item.first_at, item.last_at,
  item.latency_buckets::smallint[] AS latency_buckets, item.latency_counts::bigint[] AS latency_counts
FROM usage_commits AS stored CROSS JOIN LATERAL unnest(stored.hour, stored.team_id, stored.agent_id, stored.environment, stored.provider, stored.model, stored.price_status, stored.calls, stored.errors, stored.usage_calls, stored.input_tokens, stored.output_tokens, stored.cache_read_tokens, stored.cache_write_tokens, stored.cost_nano_usd, stored.first_at, stored.last_at, stored.latency_buckets, stored.latency_counts)
  AS item (hour, team_id, agent_id, environment, provider, model, price_status, calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd, first_at, last_at, latency_buckets, latency_counts);
COMMENT ON VIEW usage_deltas IS 'What is in usage_commits, a row for each sum';
-- downgrade
CREATE TABLE usage_deltas_of_commits AS SELECT * FROM usage_deltas;
DROP VIEW usage_deltas;
DROP TABLE usage_commits;
CREATE TABLE usage_deltas (
  hour timestamp with time zone NOT NULL,
  team_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  environment text NOT NULL,
  provider text NOT NULL,
  model text NOT NULL,
  price_status text NOT NULL,
  calls bigint NOT NULL,
  errors bigint NOT NULL,
  usage_calls bigint NOT NULL,
  input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cache_read_tokens bigint NOT NULL,
  cache_write_tokens bigint NOT NULL,
  cost_nano_usd bigint NOT NULL,
  first_at timestamp with time zone NOT NULL,
  last_at timestamp with time zone NOT NULL,
  latency_buckets smallint[] NOT NULL,
  latency_counts bigint[] NOT NULL
);
COMMENT ON TABLE usage_deltas IS 'What commits have added since it was last folded into usage_aggregations';
COMMENT ON COLUMN usage_deltas.provider IS 'Empty: not known';
COMMENT ON COLUMN usage_deltas.usage_calls IS 'Calls whose usage is known';
COMMENT ON COLUMN usage_deltas.cost_nano_usd IS '1e-9 USD';
COMMENT ON COLUMN usage_deltas.first_at IS 'No call is earlier';
COMMENT ON COLUMN usage_deltas.last_at IS 'No call is later';
COMMENT ON COLUMN usage_deltas.latency_buckets IS 'Of the durations that are known; bounds are in src/rollups/latency.cpp';
COMMENT ON COLUMN usage_deltas.latency_counts IS 'Calls in each of latency_buckets';
ALTER TABLE usage_deltas SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);
INSERT INTO usage_deltas SELECT * FROM usage_deltas_of_commits;
DROP TABLE usage_deltas_of_commits;
