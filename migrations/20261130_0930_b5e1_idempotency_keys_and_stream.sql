-- revision: 20261130_0930_b5e1
-- down: 20261130_0430_a9d4
-- message: idempotency keys and stream
-- transaction: yes
-- upgrade
CREATE TABLE stream_events (
  sequence bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  transaction_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  type text NOT NULL,
  team_id uuid,
  agent_id uuid,
  payload json NOT NULL,
  CONSTRAINT stream_events_pkey PRIMARY KEY (transaction_id, sequence)
);
COMMENT ON TABLE stream_events IS 'What has happened lately, for whoever listens; kept for an hour';
COMMENT ON COLUMN stream_events.type IS 'run.succeeded, budget.alerted';
COMMENT ON COLUMN stream_events.team_id IS 'NULL: of the organisation';
CREATE INDEX stream_events_created_at_idx ON stream_events USING brin (created_at);
CREATE TABLE stream_switch (
  is_only boolean DEFAULT true NOT NULL,
  is_on_until timestamp with time zone NOT NULL,
  oldest xid8,
  CONSTRAINT stream_switch_is_only_check CHECK (is_only),
  CONSTRAINT stream_switch_pkey PRIMARY KEY (is_only)
);
COMMENT ON TABLE stream_switch IS 'One row at most: until when what happens leaves a row, since somebody listens';
COMMENT ON COLUMN stream_switch.oldest IS 'Of transactions before this one rows may be missing';
CREATE TABLE idempotency_keys (
  principal_id uuid NOT NULL,
  key text NOT NULL,
  request bytea NOT NULL,
  made_id uuid NOT NULL,
  attempt uuid NOT NULL,
  claimed_at timestamp with time zone DEFAULT now() NOT NULL,
  has_changed boolean DEFAULT false NOT NULL,
  answer bytea,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal_id, key),
  CONSTRAINT idempotency_keys_key_check CHECK (length(key) BETWEEN 1 AND 255)
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
COMMENT ON TABLE idempotency_keys IS 'Requests with an Idempotency-Key, kept for a day for their repeats';
COMMENT ON COLUMN idempotency_keys.principal_id IS 'Whose request it was';
COMMENT ON COLUMN idempotency_keys.request IS 'SHA-256 of what was asked';
COMMENT ON COLUMN idempotency_keys.made_id IS 'Of what the request makes';
COMMENT ON COLUMN idempotency_keys.attempt IS 'Whoever answers it';
COMMENT ON COLUMN idempotency_keys.has_changed IS 'Set by the transaction in which the request took effect';
COMMENT ON COLUMN idempotency_keys.answer IS 'Encrypted; NULL: it has not been answered';

CREATE FUNCTION stream_time(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

CREATE FUNCTION stream_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM stream_switch WHERE is_on_until > now()) THEN
    INSERT INTO stream_events (type, team_id, agent_id, payload) VALUES ('run.' || NEW.status, NEW.team_id, NEW.agent_id, json_build_object(
      'run_id', NEW.id, 'agent_id', NEW.agent_id, 'team_id', NEW.team_id, 'environment', NEW.environment, 'status', NEW.status,
      'parent_run_id', NEW.parent_run_id, 'session_id', NEW.session_id, 'started_at', stream_time(NEW.started_at), 'ended_at', stream_time(NEW.ended_at),
      'terminated_by', NEW.terminated_by, 'error', NEW.error));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER stream_run_made AFTER INSERT ON agent_runs FOR EACH ROW EXECUTE FUNCTION stream_run();
CREATE TRIGGER stream_run_moved AFTER UPDATE OF status ON agent_runs FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
  EXECUTE FUNCTION stream_run();

CREATE FUNCTION stream_alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM stream_switch WHERE is_on_until > now()) THEN
    INSERT INTO stream_events (type, team_id, agent_id, payload) SELECT 'budget.alerted', b.team_id, b.agent_id, json_build_object(
      'alert_id', NEW.id, 'budget_id', b.id, 'budget', b.name, 'scope', b.scope, 'team_id', b.team_id, 'agent_id', b.agent_id,
      'api_key_id', b.api_key_id, 'run_id', coalesce(b.run_id, nullif(w.run_id, '00000000-0000-0000-0000-000000000000')),
      'metric', b.metric, 'window', b.window_kind, 'threshold', NEW.threshold,
      'spent', CASE b.metric WHEN 'cost' THEN trim_scale(NEW.spent::numeric / 1000000000) ELSE NEW.spent::numeric END,
      'limit', CASE b.metric WHEN 'cost' THEN trim_scale(NEW.limit_amount::numeric / 1000000000) ELSE NEW.limit_amount::numeric END,
      'hard_stop', b.hard_stop, 'timestamp', stream_time(NEW.created_at))
    FROM budget_limits b LEFT JOIN budget_windows w ON w.id = NEW.window_id WHERE b.id = NEW.budget_id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER stream_alert AFTER INSERT ON budget_alerts FOR EACH ROW EXECUTE FUNCTION stream_alert();

-- Whoever reads a table for long (an export, a dump) keeps it from being dropped; while we wait for that, everybody else waits for us.
ALTER FUNCTION drop_day(text, date, timestamptz) SET lock_timeout = '100ms';
-- downgrade
ALTER FUNCTION drop_day(text, date, timestamptz) SET lock_timeout = '2s';
DROP TRIGGER stream_alert ON budget_alerts;
DROP FUNCTION stream_alert();
DROP TRIGGER stream_run_moved ON agent_runs;
DROP TRIGGER stream_run_made ON agent_runs;
DROP FUNCTION stream_run();
DROP FUNCTION stream_time(timestamptz);
DROP TABLE idempotency_keys;
DROP TABLE stream_switch;
DROP TABLE stream_events;
