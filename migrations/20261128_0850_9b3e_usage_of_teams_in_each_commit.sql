-- revision: 20261128_0850_9b3e
-- down: 20261128_0645_7d21
-- message: usage of teams in each commit
-- transaction: yes
-- upgrade
ALTER TABLE usage_commits ADD COLUMN of_teams boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN usage_commits.of_teams IS 'Over all agents of each team, with the nil UUID as agent_id: the same calls once more';
COMMENT ON TABLE usage_commits IS 'What commits have added since it was last folded into usage_aggregations, two rows for each: arrays have one item for each sum';
-- What is not folded yet, once more for the teams.
INSERT INTO usage_commits (sums, hour, team_id, agent_id, environment, provider, model, price_status, calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd, first_at, last_at, latency_buckets, latency_counts, of_teams)
SELECT sums, hour, team_id, array_fill('00000000-0000-0000-0000-000000000000'::uuid, ARRAY[cardinality(agent_id)]), environment, provider, model, price_status, calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd, first_at, last_at, latency_buckets, latency_counts, true FROM usage_commits;
-- Servers of older versions would add sums of agents only, and take those of teams for an agent's. They fail instead, and
-- their callers repeat.
ALTER TABLE usage_commits RENAME COLUMN sums TO items;
COMMENT ON COLUMN usage_commits.items IS 'How many each array has';
DROP VIEW usage_deltas;
CREATE VIEW usage_unfolded AS SELECT item.hour, item.team_id, item.agent_id, item.environment, item.provider, item.model, item.price_status, item.calls, item.errors, item.usage_calls, item.input_tokens, item.output_tokens, item.cache_read_tokens, item.cache_write_tokens, item.cost_nano_usd, item.first_at, item.last_at,
  item.latency_buckets::smallint[] AS latency_buckets, item.latency_counts::bigint[] AS latency_counts, stored.of_teams
FROM usage_commits AS stored CROSS JOIN LATERAL unnest(stored.hour, stored.team_id, stored.agent_id, stored.environment, stored.provider, stored.model, stored.price_status, stored.calls, stored.errors, stored.usage_calls, stored.input_tokens, stored.output_tokens, stored.cache_read_tokens, stored.cache_write_tokens, stored.cost_nano_usd, stored.first_at, stored.last_at, stored.latency_buckets, stored.latency_counts)
  AS item (hour, team_id, agent_id, environment, provider, model, price_status, calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd, first_at, last_at, latency_buckets, latency_counts);
COMMENT ON VIEW usage_unfolded IS 'What is in usage_commits, a row for each sum';
COMMENT ON TABLE usage_aggregations IS 'What LLM calls add up to, as they are charged now, but for what is still in usage_unfolded';
-- downgrade
DROP VIEW usage_unfolded;
ALTER TABLE usage_commits RENAME COLUMN items TO sums;
COMMENT ON COLUMN usage_commits.sums IS 'How many items each array has';
DELETE FROM usage_commits WHERE of_teams;
ALTER TABLE usage_commits DROP COLUMN of_teams;
COMMENT ON TABLE usage_commits IS 'What commits have added since it was last folded into usage_aggregations, a row for each: arrays have one item for each sum';
CREATE VIEW usage_deltas AS SELECT item.hour, item.team_id, item.agent_id, item.environment, item.provider, item.model, item.price_status, item.calls, item.errors, item.usage_calls, item.input_tokens, item.output_tokens, item.cache_read_tokens, item.cache_write_tokens, item.cost_nano_usd, item.first_at, item.last_at,
  item.latency_buckets::smallint[] AS latency_buckets, item.latency_counts::bigint[] AS latency_counts
FROM usage_commits AS stored CROSS JOIN LATERAL unnest(stored.hour, stored.team_id, stored.agent_id, stored.environment, stored.provider, stored.model, stored.price_status, stored.calls, stored.errors, stored.usage_calls, stored.input_tokens, stored.output_tokens, stored.cache_read_tokens, stored.cache_write_tokens, stored.cost_nano_usd, stored.first_at, stored.last_at, stored.latency_buckets, stored.latency_counts)
  AS item (hour, team_id, agent_id, environment, provider, model, price_status, calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd, first_at, last_at, latency_buckets, latency_counts);
COMMENT ON VIEW usage_deltas IS 'What is in usage_commits, a row for each sum';
COMMENT ON TABLE usage_aggregations IS 'What LLM calls add up to, as they are charged now, but for what is still in usage_deltas';
-- Of some commits only one of the two rows may have been folded.
DELETE FROM usage_aggregations WHERE granularity IN ('team_hour', 'team_day');
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
