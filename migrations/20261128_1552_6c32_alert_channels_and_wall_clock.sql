-- revision: 20261128_1552_6c32
-- down: 20261128_1218_0054
-- message: alert channels and wall clock
-- transaction: yes
-- upgrade
ALTER TABLE budget_limits DROP CONSTRAINT budget_limits_metric_check;
CREATE TABLE alert_channels (
  id uuid NOT NULL,
  team_id uuid,
  name text NOT NULL,
  kind text NOT NULL,
  target text NOT NULL,
  enabled boolean NOT NULL,
  secret_version bigint DEFAULT 1 NOT NULL,
  secret_rotated_at timestamp with time zone,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  deleted_at timestamp with time zone,
  CONSTRAINT alert_channels_kind_check CHECK ((kind = ANY (ARRAY['webhook'::text, 'email'::text]))),
  CONSTRAINT alert_channels_pkey PRIMARY KEY (id)
);
CREATE INDEX alert_channels_created_at_idx ON alert_channels USING btree (created_at, id);
COMMENT ON TABLE alert_channels IS 'Where alerts are sent. Deleted ones stay, for what was sent to them';
COMMENT ON COLUMN alert_channels.team_id IS 'Whose alerts it gets; NULL: all of the organisation';
COMMENT ON COLUMN alert_channels.target IS 'A URL or an e-mail address, by kind';
COMMENT ON COLUMN alert_channels.secret_version IS 'The secret that signs follows from the master key, the id and this';
COMMENT ON COLUMN alert_channels.secret_rotated_at IS 'For a day from then the secret before signs too';
CREATE TABLE alert_deliveries (
  id uuid NOT NULL,
  alert_id uuid NOT NULL,
  channel_id uuid NOT NULL,
  state text DEFAULT 'waiting'::text NOT NULL,
  attempts bigint DEFAULT 0 NOT NULL,
  last_error text,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  delivered_at timestamp with time zone,
  CONSTRAINT alert_deliveries_alert_id_channel_id_key UNIQUE (alert_id, channel_id),
  CONSTRAINT alert_deliveries_pkey PRIMARY KEY (id),
  CONSTRAINT alert_deliveries_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'delivered'::text, 'failed'::text])))
);
CREATE INDEX alert_deliveries_created_at_idx ON alert_deliveries USING btree (created_at, id);
COMMENT ON TABLE alert_deliveries IS 'What became of an alert on each channel that it had to go to';
COMMENT ON COLUMN alert_deliveries.id IS 'The same on every attempt';
CREATE TABLE budget_run_times (
  budget_id uuid NOT NULL,
  run_id uuid NOT NULL,
  window_id bigint NOT NULL,
  milliseconds bigint NOT NULL,
  until timestamp with time zone NOT NULL,
  is_open boolean NOT NULL,
  CONSTRAINT budget_run_times_pkey PRIMARY KEY (budget_id, run_id, window_id)
);
CREATE INDEX budget_run_times_open_idx ON budget_run_times USING btree (until) WHERE is_open;
CREATE INDEX budget_run_times_window_id_idx ON budget_run_times USING btree (window_id);
COMMENT ON TABLE budget_run_times IS 'What of the time of a run was charged to which window: the ledger of wall clock';
COMMENT ON COLUMN budget_run_times.until IS 'What was before has been counted';
COMMENT ON COLUMN budget_run_times.is_open IS 'The run went on when this was counted';
ALTER TABLE budget_alerts ADD COLUMN dispatched_at timestamp with time zone;
-- What is known already is no news.
UPDATE budget_alerts SET dispatched_at = created_at;
COMMENT ON COLUMN budget_alerts.dispatched_at IS 'When it was handed over to its channels; NULL: not yet';
ALTER TABLE budget_windows ADD COLUMN created_at timestamp with time zone DEFAULT now() NOT NULL;
ALTER TABLE budget_limits ADD CONSTRAINT budget_limits_metric_check CHECK ((metric = ANY (ARRAY['cost'::text, 'tokens'::text, 'requests'::text, 'steps'::text, 'tool_calls'::text, 'wall_clock'::text])));
ALTER TABLE alert_channels ADD CONSTRAINT alert_channels_team_id_fkey FOREIGN KEY (team_id) REFERENCES teams(id);
ALTER TABLE alert_deliveries ADD CONSTRAINT alert_deliveries_alert_id_fkey FOREIGN KEY (alert_id) REFERENCES budget_alerts(id);
ALTER TABLE alert_deliveries ADD CONSTRAINT alert_deliveries_channel_id_fkey FOREIGN KEY (channel_id) REFERENCES alert_channels(id);
ALTER TABLE budget_run_times ADD CONSTRAINT budget_run_times_window_id_fkey FOREIGN KEY (window_id) REFERENCES budget_windows(id);
COMMENT ON COLUMN budget_alerts.limit_amount IS '1e-9 USD, tokens, calls, steps or milliseconds, by the budget''s metric';
COMMENT ON COLUMN budget_alerts.spent IS '1e-9 USD, tokens, calls, steps or milliseconds, by the budget''s metric';
COMMENT ON COLUMN budget_limits.limit_amount IS '1e-9 USD, tokens, calls, steps or milliseconds, by the budget''s metric';
COMMENT ON COLUMN budget_windows.spent IS '1e-9 USD, tokens, calls, steps or milliseconds: no sum of what callers choose can overflow';
-- Not concurrently: these tables are as young as the revision before.
CREATE INDEX budget_alerts_undispatched_idx ON budget_alerts USING btree (created_at) WHERE dispatched_at IS NULL;
CREATE INDEX budget_reservations_granted_at_idx ON budget_reservations USING brin (granted_at);
CREATE INDEX budget_windows_budget_id_id_idx ON budget_windows USING btree (budget_id, id);
CREATE INDEX budget_windows_of_runs_idx ON budget_windows USING btree (created_at) WHERE run_id <> '00000000-0000-0000-0000-000000000000'::uuid;
-- downgrade
DROP INDEX budget_windows_of_runs_idx;
DROP INDEX budget_windows_budget_id_id_idx;
DROP INDEX budget_reservations_granted_at_idx;
DROP INDEX budget_alerts_undispatched_idx;
COMMENT ON COLUMN budget_windows.spent IS '1e-9 USD, tokens, calls or steps: no sum of what callers choose can overflow';
COMMENT ON COLUMN budget_limits.limit_amount IS '1e-9 USD, tokens, calls or steps, by the budget''s metric';
COMMENT ON COLUMN budget_alerts.spent IS '1e-9 USD, tokens, calls or steps, by the budget''s metric';
COMMENT ON COLUMN budget_alerts.limit_amount IS '1e-9 USD, tokens, calls or steps, by the budget''s metric';
ALTER TABLE budget_run_times DROP CONSTRAINT budget_run_times_window_id_fkey;
ALTER TABLE alert_deliveries DROP CONSTRAINT alert_deliveries_channel_id_fkey;
ALTER TABLE alert_deliveries DROP CONSTRAINT alert_deliveries_alert_id_fkey;
ALTER TABLE alert_channels DROP CONSTRAINT alert_channels_team_id_fkey;
ALTER TABLE budget_limits DROP CONSTRAINT budget_limits_metric_check;
ALTER TABLE budget_windows DROP COLUMN created_at;
ALTER TABLE budget_alerts DROP COLUMN dispatched_at;
DROP TABLE budget_run_times;
DROP TABLE alert_deliveries;
DROP TABLE alert_channels;
-- Budgets that the version before does not know stay, deleted, with what they have counted.
UPDATE budget_edition SET version = version + 1 WHERE EXISTS (SELECT FROM budget_limits WHERE metric = 'wall_clock');
UPDATE budget_limits SET deleted_at = coalesce(deleted_at, now()), edition = (SELECT version FROM budget_edition) WHERE metric = 'wall_clock';
ALTER TABLE budget_limits ADD CONSTRAINT budget_limits_metric_check CHECK ((metric = ANY (ARRAY['cost'::text, 'tokens'::text, 'requests'::text, 'steps'::text, 'tool_calls'::text]))) NOT VALID;
