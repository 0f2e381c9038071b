-- revision: 20261124_1927_80f0
-- down: 20261124_1825_1776
-- message: rollups
-- transaction: yes
-- upgrade
CREATE TABLE usage_aggregations (
  granularity text NOT NULL,
  period timestamp with time zone NOT NULL,
  team_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  environment text NOT NULL,
  provider text NOT NULL,
  model text NOT NULL,
  price_status text NOT NULL,
  calls numeric NOT NULL,
  errors numeric NOT NULL,
  usage_calls numeric NOT NULL,
  input_tokens numeric NOT NULL,
  output_tokens numeric NOT NULL,
  cache_read_tokens numeric NOT NULL,
  cache_write_tokens numeric NOT NULL,
  cost_nano_usd numeric NOT NULL,
  first_at timestamp with time zone NOT NULL,
  last_at timestamp with time zone NOT NULL,
  latency_buckets smallint[] NOT NULL,
  latency_counts numeric[] NOT NULL,
  CONSTRAINT usage_aggregations_granularity_check CHECK ((granularity = ANY (ARRAY['hour'::text, 'day'::text]))),
  CONSTRAINT usage_aggregations_pkey PRIMARY KEY (granularity, period, team_id, agent_id, environment, provider, model, price_status)
);
COMMENT ON TABLE usage_aggregations IS 'What LLM calls add up to, as they are charged now, but for what is still in usage_deltas';
COMMENT ON COLUMN usage_aggregations.period IS 'Begin of the UTC hour or day';
COMMENT ON COLUMN usage_aggregations.provider IS 'Empty: not known';
COMMENT ON COLUMN usage_aggregations.usage_calls IS 'Calls whose usage is known';
COMMENT ON COLUMN usage_aggregations.cost_nano_usd IS '1e-9 USD';
COMMENT ON COLUMN usage_aggregations.first_at IS 'No call is earlier';
COMMENT ON COLUMN usage_aggregations.last_at IS 'No call is later';
COMMENT ON COLUMN usage_aggregations.latency_buckets IS 'Of the durations that are known; bounds are in src/rollups/latency.cpp';
COMMENT ON COLUMN usage_aggregations.latency_counts IS 'Calls in each of latency_buckets';
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
ALTER TABLE usage_aggregations SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE usage_deltas SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);
-- What there is already is added up once. Nobody writes calls meanwhile: whoever does not know of rollups would add to one
-- and not to the other, so servers of older versions must be gone.
LOCK TABLE llm_calls, charge_adjustments IN SHARE MODE;
WITH RECURSIVE bounds (bound) AS (
  SELECT 0::bigint UNION ALL
  SELECT greatest(bound + 1, bound * 11 / 10) FROM bounds WHERE greatest(bound + 1, bound * 11 / 10) <= 40000000000
), charged AS (
  SELECT date_trunc('hour', l."timestamp", 'UTC') AS hour, l.team_id, l.agent_id, l.environment, coalesce(l.provider, '') AS provider,
    l.model, coalesce(j.new_price_status, l.price_status) AS price_status, l.status, l."timestamp", l.input_tokens, l.output_tokens,
    l.cache_read_tokens, l.cache_write_tokens, CASE WHEN j.call_id IS NULL THEN l.cost_nano_usd ELSE j.new_cost_nano_usd END AS charge,
    (width_bucket(l.duration_ms, (SELECT array_agg(bound ORDER BY bound) FROM bounds)) - 1)::smallint AS bucket
  FROM llm_calls l LEFT JOIN (SELECT DISTINCT ON (run_id, call_id) run_id, call_id, new_price_status, new_cost_nano_usd
    FROM charge_adjustments ORDER BY run_id, call_id, sequence DESC) j ON j.run_id = l.run_id AND j.call_id = l.id
), parts AS (
  SELECT granularity, period, team_id, agent_id, environment, provider, model, price_status, bucket, count(*) AS calls,
    count(*) FILTER (WHERE status = 'error') AS errors, count(input_tokens) AS usage_calls, coalesce(sum(input_tokens), 0) AS input_tokens,
    coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0) AS cache_write_tokens, coalesce(sum(charge), 0) AS cost_nano_usd,
    min("timestamp") AS first_at, max("timestamp") AS last_at
  FROM charged CROSS JOIN LATERAL (VALUES ('hour', hour), ('day', date_trunc('day', hour, 'UTC'))) AS of (granularity, period)
  GROUP BY granularity, period, team_id, agent_id, environment, provider, model, price_status, bucket
)
INSERT INTO usage_aggregations SELECT granularity, period, team_id, agent_id, environment, provider, model, price_status, sum(calls),
  sum(errors), sum(usage_calls), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
  sum(cost_nano_usd), min(first_at), max(last_at), coalesce(array_agg(bucket ORDER BY bucket) FILTER (WHERE bucket IS NOT NULL), '{}'),
  coalesce(array_agg(calls ORDER BY bucket) FILTER (WHERE bucket IS NOT NULL), '{}')
FROM parts GROUP BY granularity, period, team_id, agent_id, environment, provider, model, price_status;
ANALYZE usage_aggregations;
-- downgrade
DROP TABLE usage_deltas;
DROP TABLE usage_aggregations;
