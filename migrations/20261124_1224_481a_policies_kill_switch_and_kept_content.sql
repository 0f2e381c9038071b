-- revision: 20261124_1224_481a
-- down: 20261124_1145_5da1
-- message: policies, kill switch and kept content
-- compatible-from: 20261124_1145_5da1
-- transaction: yes
-- upgrade
ALTER TABLE llm_calls DROP CONSTRAINT llm_calls_price_status_check;
ALTER TABLE agent_runs ADD COLUMN last_seen_at timestamp with time zone;
COMMENT ON COLUMN agent_runs.last_seen_at IS 'Last heartbeat, or event that a search for silent runs met';
ALTER TABLE agent_runs ADD COLUMN terminated_by text;
ALTER TABLE agents ADD COLUMN on_violation text DEFAULT 'record'::text NOT NULL;
ALTER TABLE agents ADD COLUMN store text DEFAULT 'none'::text NOT NULL;
COMMENT ON COLUMN agents.store IS 'What is kept of inputs, outputs, arguments and results';
ALTER TABLE agents ADD COLUMN silence_timeout_s bigint;
COMMENT ON COLUMN agents.silence_timeout_s IS 'NULL: as the installation says; 0: never';
ALTER TABLE execution_steps ADD COLUMN content jsonb;
COMMENT ON COLUMN execution_steps.content IS 'What the agent''s policy keeps of inputs and outputs';
ALTER TABLE llm_calls ADD COLUMN content jsonb;
COMMENT ON COLUMN llm_calls.content IS 'What the agent''s policy keeps of inputs and outputs';
ALTER TABLE llm_calls ADD COLUMN violation text;
COMMENT ON COLUMN llm_calls.violation IS 'What of it the agent may not use: provider, model, tool or data_source';
ALTER TABLE tool_invocations ADD COLUMN content jsonb;
COMMENT ON COLUMN tool_invocations.content IS 'What the agent''s policy keeps of inputs and outputs';
ALTER TABLE tool_invocations ADD COLUMN violation text;
COMMENT ON COLUMN tool_invocations.violation IS 'What of it the agent may not use: provider, model, tool or data_source';
ALTER TABLE tool_invocations ADD COLUMN data_source text;
ALTER TABLE llm_calls ALTER COLUMN cache_read_tokens DROP NOT NULL;
ALTER TABLE llm_calls ALTER COLUMN cache_write_tokens DROP NOT NULL;
ALTER TABLE llm_calls ALTER COLUMN input_tokens DROP NOT NULL;
ALTER TABLE llm_calls ALTER COLUMN output_tokens DROP NOT NULL;
-- At once, not validated later: hypertables cannot.
ALTER TABLE agent_runs ADD CONSTRAINT agent_runs_terminated_by_check CHECK ((terminated_by = ANY (ARRAY['operator'::text, 'policy'::text, 'silence'::text])));
ALTER TABLE agents ADD CONSTRAINT agents_on_violation_check CHECK ((on_violation = ANY (ARRAY['record'::text, 'terminate'::text])));
ALTER TABLE agents ADD CONSTRAINT agents_store_check CHECK ((store = ANY (ARRAY['none'::text, 'metadata'::text, 'hashed'::text, 'redacted'::text, 'full'::text])));
ALTER TABLE llm_calls ADD CONSTRAINT llm_calls_price_status_check CHECK ((price_status = ANY (ARRAY['priced'::text, 'partial'::text, 'no_rates'::text, 'unknown_model'::text, 'unknown_provider'::text, 'inconsistent_usage'::text, 'unknown_usage'::text])));
CREATE INDEX agent_runs_error_idx ON agent_runs USING gin (to_tsvector('simple'::regconfig, error)) WHERE error IS NOT NULL;
CREATE INDEX agent_runs_labels_idx ON agent_runs USING gin (labels jsonb_path_ops);
CREATE INDEX agent_runs_parent_run_id_idx ON agent_runs USING btree (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX agent_runs_session_id_idx ON agent_runs USING btree (session_id, created_at) WHERE session_id IS NOT NULL;
COMMENT ON COLUMN llm_calls.input_tokens IS 'NULL: the usage is unknown';
-- downgrade
-- The version before knows no unknown usage: it counts as none, without a price.
UPDATE llm_calls SET price_status = 'no_rates' WHERE price_status = 'unknown_usage';
UPDATE llm_calls SET input_tokens = coalesce(input_tokens, 0), output_tokens = coalesce(output_tokens, 0),
  cache_read_tokens = coalesce(cache_read_tokens, 0), cache_write_tokens = coalesce(cache_write_tokens, 0)
  WHERE input_tokens IS NULL;
COMMENT ON COLUMN llm_calls.input_tokens IS NULL;
DROP INDEX agent_runs_session_id_idx;
DROP INDEX agent_runs_parent_run_id_idx;
DROP INDEX agent_runs_labels_idx;
DROP INDEX agent_runs_error_idx;
ALTER TABLE llm_calls DROP CONSTRAINT llm_calls_price_status_check;
ALTER TABLE agents DROP CONSTRAINT agents_store_check;
ALTER TABLE agents DROP CONSTRAINT agents_on_violation_check;
ALTER TABLE agent_runs DROP CONSTRAINT agent_runs_terminated_by_check;
ALTER TABLE llm_calls ALTER COLUMN output_tokens SET NOT NULL;
ALTER TABLE llm_calls ALTER COLUMN input_tokens SET NOT NULL;
ALTER TABLE llm_calls ALTER COLUMN cache_write_tokens SET NOT NULL;
ALTER TABLE llm_calls ALTER COLUMN cache_read_tokens SET NOT NULL;
ALTER TABLE tool_invocations DROP COLUMN data_source;
ALTER TABLE tool_invocations DROP COLUMN violation;
ALTER TABLE tool_invocations DROP COLUMN content;
ALTER TABLE llm_calls DROP COLUMN violation;
ALTER TABLE llm_calls DROP COLUMN content;
ALTER TABLE execution_steps DROP COLUMN content;
ALTER TABLE agents DROP COLUMN silence_timeout_s;
ALTER TABLE agents DROP COLUMN store;
ALTER TABLE agents DROP COLUMN on_violation;
ALTER TABLE agent_runs DROP COLUMN terminated_by;
ALTER TABLE agent_runs DROP COLUMN last_seen_at;
ALTER TABLE llm_calls ADD CONSTRAINT llm_calls_price_status_check CHECK ((price_status = ANY (ARRAY['priced'::text, 'partial'::text, 'no_rates'::text, 'unknown_model'::text, 'unknown_provider'::text, 'inconsistent_usage'::text])));
