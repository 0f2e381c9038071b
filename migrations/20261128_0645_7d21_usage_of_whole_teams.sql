-- revision: 20261128_0645_7d21
-- down: 20261128_0120_5e0c
-- message: usage of whole teams
-- transaction: yes
-- upgrade
ALTER TABLE usage_aggregations DROP CONSTRAINT usage_aggregations_granularity_check;
ALTER TABLE usage_aggregations ADD CONSTRAINT usage_aggregations_granularity_check CHECK (granularity IN ('hour', 'day', 'team_hour', 'team_day'));
COMMENT ON COLUMN usage_aggregations.granularity IS 'team_…: over all agents of the team, with the nil UUID as agent_id';
WITH sums AS (
  SELECT granularity, period, team_id, environment, provider, model, price_status, sum(calls) AS calls, sum(errors) AS errors,
    sum(usage_calls) AS usage_calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(cache_read_tokens) AS cache_read_tokens, sum(cache_write_tokens) AS cache_write_tokens, sum(cost_nano_usd) AS cost_nano_usd,
    min(first_at) AS first_at, max(last_at) AS last_at
  FROM usage_aggregations GROUP BY granularity, period, team_id, environment, provider, model, price_status
), latencies AS (
  SELECT granularity, period, team_id, environment, provider, model, price_status, array_agg(bucket ORDER BY bucket) AS buckets,
    array_agg(count ORDER BY bucket) AS counts
  FROM (SELECT granularity, period, team_id, environment, provider, model, price_status, latency.bucket, sum(latency.count) AS count
    FROM usage_aggregations, unnest(latency_buckets, latency_counts) AS latency (bucket, count)
    GROUP BY granularity, period, team_id, environment, provider, model, price_status, latency.bucket
    HAVING sum(latency.count) <> 0) counted
  GROUP BY granularity, period, team_id, environment, provider, model, price_status
)
INSERT INTO usage_aggregations SELECT 'team_' || granularity, period, team_id, '00000000-0000-0000-0000-000000000000', environment, provider,
  model, price_status, calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd,
  first_at, last_at, coalesce(buckets, '{}'), coalesce(counts, '{}')
FROM sums LEFT JOIN latencies USING (granularity, period, team_id, environment, provider, model, price_status);
ANALYZE usage_aggregations;
-- downgrade
DELETE FROM usage_aggregations WHERE granularity IN ('team_hour', 'team_day');
ALTER TABLE usage_aggregations DROP CONSTRAINT usage_aggregations_granularity_check;
ALTER TABLE usage_aggregations ADD CONSTRAINT usage_aggregations_granularity_check CHECK (granularity IN ('hour', 'day'));
COMMENT ON COLUMN usage_aggregations.granularity IS NULL;
