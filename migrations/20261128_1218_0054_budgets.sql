-- revision: 20261128_1218_0054
-- down: 20261128_0850_9b3e
-- message: budgets
-- transaction: yes
-- upgrade
ALTER TABLE agent_runs DROP CONSTRAINT agent_runs_terminated_by_check;
CREATE TABLE budget_limits (
  id uuid NOT NULL,
  scope text NOT NULL,
  team_id uuid,
  agent_id uuid,
  api_key_id uuid,
  run_id uuid,
  name text NOT NULL,
  provider text,
  model text,
  metric text NOT NULL,
  window_kind text NOT NULL,
  time_zone text NOT NULL,
  limit_amount bigint NOT NULL,
  hard_stop boolean NOT NULL,
  thresholds bigint[] NOT NULL,
  assumed_cost_nano_usd bigint,
  enabled boolean NOT NULL,
  edition bigint NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  deleted_at timestamp with time zone,
  CONSTRAINT budget_limits_limit_amount_check CHECK ((limit_amount >= 0)),
  CONSTRAINT budget_limits_metric_check CHECK ((metric = ANY (ARRAY['cost'::text, 'tokens'::text, 'requests'::text, 'steps'::text, 'tool_calls'::text]))),
  CONSTRAINT budget_limits_pkey PRIMARY KEY (id),
  CONSTRAINT budget_limits_scope_check CHECK ((scope = ANY (ARRAY['organisation'::text, 'team'::text, 'agent'::text, 'api_key'::text, 'run'::text]))),
  CONSTRAINT budget_limits_window_kind_check CHECK ((window_kind = ANY (ARRAY['run'::text, 'day'::text, 'week'::text, 'month'::text, 'total'::text])))
);
CREATE INDEX budget_limits_created_at_idx ON budget_limits USING btree (created_at, id);
CREATE INDEX budget_limits_edition_idx ON budget_limits USING btree (edition);
COMMENT ON TABLE budget_limits IS 'Budgets: how much a scope may use up in each window. Deleted ones stay, for what they have counted';
COMMENT ON COLUMN budget_limits.team_id IS 'NULL: of the organisation';
COMMENT ON COLUMN budget_limits.provider IS 'A pattern; NULL: any';
COMMENT ON COLUMN budget_limits.model IS 'A pattern; NULL: any';
COMMENT ON COLUMN budget_limits.time_zone IS 'By which days, weeks and months begin';
COMMENT ON COLUMN budget_limits.limit_amount IS '1e-9 USD, tokens, calls or steps, by the budget''s metric';
COMMENT ON COLUMN budget_limits.thresholds IS 'Percent of the limit that alert';
COMMENT ON COLUMN budget_limits.assumed_cost_nano_usd IS 'What a call without a price is taken to cost; NULL: it cannot be reserved';
COMMENT ON COLUMN budget_limits.edition IS 'Of budget_edition when it last changed';
CREATE TABLE budget_windows (
  id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  budget_id uuid NOT NULL,
  run_id uuid NOT NULL,
  begins_at timestamp with time zone NOT NULL,
  ends_at timestamp with time zone NOT NULL,
  metric text NOT NULL,
  assumed_cost_nano_usd bigint,
  limit_amount bigint NOT NULL,
  hard_stop boolean NOT NULL,
  covers boolean NOT NULL,
  spent numeric DEFAULT 0 NOT NULL,
  reserved bigint DEFAULT 0 NOT NULL,
  unreserved numeric DEFAULT 0 NOT NULL,
  exceeded numeric DEFAULT 0 NOT NULL,
  CONSTRAINT budget_windows_budget_id_run_id_begins_at_key UNIQUE (budget_id, run_id, begins_at),
  CONSTRAINT budget_windows_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE budget_windows IS 'What has been used up, and what is set aside, of each budget in each of its windows';
COMMENT ON COLUMN budget_windows.run_id IS 'The nil UUID unless each run has a window of its own';
COMMENT ON COLUMN budget_windows.metric IS 'Of the budget';
COMMENT ON COLUMN budget_windows.assumed_cost_nano_usd IS 'Of the budget: what a call without a price is taken to cost';
COMMENT ON COLUMN budget_windows.limit_amount IS 'Of the budget, until the window ends';
COMMENT ON COLUMN budget_windows.covers IS 'Neither disabled nor deleted';
COMMENT ON COLUMN budget_windows.spent IS '1e-9 USD, tokens, calls or steps: no sum of what callers choose can overflow';
COMMENT ON COLUMN budget_windows.reserved IS 'By reservations that are held';
COMMENT ON COLUMN budget_windows.unreserved IS 'The part of spent that nobody had reserved';
COMMENT ON COLUMN budget_windows.exceeded IS 'The part of spent by which calls went over their reservations';
CREATE TABLE budget_alerts (
  id uuid NOT NULL,
  window_id bigint NOT NULL,
  budget_id uuid NOT NULL,
  threshold bigint NOT NULL,
  spent numeric NOT NULL,
  limit_amount bigint NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  acknowledged_at timestamp with time zone,
  acknowledged_by uuid,
  CONSTRAINT budget_alerts_pkey PRIMARY KEY (id),
  CONSTRAINT budget_alerts_window_id_threshold_key UNIQUE (window_id, threshold)
);
CREATE INDEX budget_alerts_created_at_idx ON budget_alerts USING btree (created_at, id);
COMMENT ON TABLE budget_alerts IS 'One for each threshold that a budget has crossed in a window';
COMMENT ON COLUMN budget_alerts.threshold IS 'Percent of the limit';
COMMENT ON COLUMN budget_alerts.spent IS '1e-9 USD, tokens, calls or steps, by the budget''s metric';
COMMENT ON COLUMN budget_alerts.limit_amount IS '1e-9 USD, tokens, calls or steps, by the budget''s metric';
COMMENT ON COLUMN budget_alerts.acknowledged_by IS 'The principal; NULL: nobody';
CREATE TABLE budget_charge_sets (
  id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  windows bigint[] NOT NULL,
  CONSTRAINT budget_charge_sets_pkey PRIMARY KEY (id),
  CONSTRAINT budget_charge_sets_windows_key UNIQUE (windows)
);
COMMENT ON TABLE budget_charge_sets IS 'Sets of windows, for the calls and reservations that were charged to all of them';
COMMENT ON COLUMN budget_charge_sets.windows IS 'Ids of budget_windows, ascending';
CREATE TABLE budget_edition (
  is_only boolean DEFAULT true NOT NULL,
  version bigint NOT NULL,
  CONSTRAINT budget_edition_is_only_check CHECK (is_only),
  CONSTRAINT budget_edition_pkey PRIMARY KEY (is_only)
);
COMMENT ON TABLE budget_edition IS 'One row. Its version goes up with every change of a budget, in the same transaction';
CREATE TABLE budget_reservations (
  id uuid NOT NULL,
  team_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  run_id uuid,
  charge_set_id bigint NOT NULL,
  cost_nano_usd bigint NOT NULL,
  tokens bigint NOT NULL,
  is_unpriced boolean NOT NULL,
  request_hash bigint NOT NULL,
  state text NOT NULL,
  granted_at timestamp with time zone DEFAULT now() NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  ended_at timestamp with time zone,
  call_run_id uuid,
  call_id uuid,
  CONSTRAINT budget_reservations_pkey PRIMARY KEY (id),
  CONSTRAINT budget_reservations_state_check CHECK ((state = ANY (ARRAY['held'::text, 'settled'::text, 'released'::text, 'expired'::text])))
);
CREATE INDEX budget_reservations_held_idx ON budget_reservations USING btree (expires_at) WHERE state = 'held'::text;
COMMENT ON TABLE budget_reservations IS 'Money, tokens and calls that were set aside for a call';
COMMENT ON COLUMN budget_reservations.is_unpriced IS 'It holds what budgets assume';
COMMENT ON COLUMN budget_reservations.request_hash IS 'Tells a repeat from another request';
COMMENT ON COLUMN budget_reservations.call_run_id IS 'The call that settled it';
ALTER TABLE execution_steps ADD COLUMN charge_set_id bigint;
COMMENT ON COLUMN execution_steps.charge_set_id IS 'The budgets that cover it; NULL: none';
ALTER TABLE llm_calls ADD COLUMN reservation_id uuid;
COMMENT ON COLUMN llm_calls.reservation_id IS 'As the call names it';
ALTER TABLE llm_calls ADD COLUMN charge_set_id bigint;
COMMENT ON COLUMN llm_calls.charge_set_id IS 'The budgets that cover it; NULL: none';
ALTER TABLE tool_invocations ADD COLUMN charge_set_id bigint;
COMMENT ON COLUMN tool_invocations.charge_set_id IS 'The budgets that cover it; NULL: none';
ALTER TABLE agent_runs ADD CONSTRAINT agent_runs_terminated_by_check CHECK ((terminated_by = ANY (ARRAY['operator'::text, 'policy'::text, 'silence'::text, 'budget'::text])));
ALTER TABLE budget_alerts ADD CONSTRAINT budget_alerts_window_id_fkey FOREIGN KEY (window_id) REFERENCES budget_windows(id);
ALTER TABLE budget_limits ADD CONSTRAINT budget_limits_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents(id);
ALTER TABLE budget_limits ADD CONSTRAINT budget_limits_api_key_id_fkey FOREIGN KEY (api_key_id) REFERENCES api_keys(id);
ALTER TABLE budget_limits ADD CONSTRAINT budget_limits_team_id_fkey FOREIGN KEY (team_id) REFERENCES teams(id);
ALTER TABLE budget_reservations ADD CONSTRAINT budget_reservations_charge_set_id_fkey FOREIGN KEY (charge_set_id) REFERENCES budget_charge_sets(id);
ALTER TABLE budget_windows ADD CONSTRAINT budget_windows_budget_id_fkey FOREIGN KEY (budget_id) REFERENCES budget_limits(id);
-- downgrade
ALTER TABLE budget_windows DROP CONSTRAINT budget_windows_budget_id_fkey;
ALTER TABLE budget_reservations DROP CONSTRAINT budget_reservations_charge_set_id_fkey;
ALTER TABLE budget_limits DROP CONSTRAINT budget_limits_team_id_fkey;
ALTER TABLE budget_limits DROP CONSTRAINT budget_limits_api_key_id_fkey;
ALTER TABLE budget_limits DROP CONSTRAINT budget_limits_agent_id_fkey;
ALTER TABLE budget_alerts DROP CONSTRAINT budget_alerts_window_id_fkey;
ALTER TABLE agent_runs DROP CONSTRAINT agent_runs_terminated_by_check;
ALTER TABLE tool_invocations DROP COLUMN charge_set_id;
ALTER TABLE llm_calls DROP COLUMN charge_set_id;
ALTER TABLE llm_calls DROP COLUMN reservation_id;
ALTER TABLE execution_steps DROP COLUMN charge_set_id;
DROP TABLE budget_reservations;
DROP TABLE budget_edition;
DROP TABLE budget_charge_sets;
DROP TABLE budget_alerts;
DROP TABLE budget_windows;
DROP TABLE budget_limits;
UPDATE agent_runs SET terminated_by = 'policy' WHERE terminated_by = 'budget';
ALTER TABLE agent_runs ADD CONSTRAINT agent_runs_terminated_by_check CHECK ((terminated_by = ANY (ARRAY['operator'::text, 'policy'::text, 'silence'::text])));
