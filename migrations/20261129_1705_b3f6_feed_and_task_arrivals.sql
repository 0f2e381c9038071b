-- revision: 20261129_1705_b3f6
-- down: 20261129_1005_9a27
-- message: feed and task arrivals
-- transaction: yes
-- upgrade
CREATE TABLE feed_messages (
  sequence bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  transaction_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  kind text NOT NULL,
  run_ids uuid[],
  ids uuid[],
  payload jsonb,
  CONSTRAINT feed_messages_pkey PRIMARY KEY (sequence)
);
COMMENT ON TABLE feed_messages IS 'What has happened and is to be published, written in the transaction in which it did';
COMMENT ON COLUMN feed_messages.sequence IS 'Not in the order of commits';
COMMENT ON COLUMN feed_messages.kind IS 'step, call, tool, run, alert or exhausted';
COMMENT ON COLUMN feed_messages.run_ids IS 'Of events, one for each';
COMMENT ON COLUMN feed_messages.ids IS 'Of events, or of the alert';
COMMENT ON COLUMN feed_messages.payload IS 'What the message says';
CREATE TABLE feed_switch (
  is_only boolean DEFAULT true NOT NULL,
  is_on boolean NOT NULL,
  CONSTRAINT feed_switch_is_only_check CHECK (is_only),
  CONSTRAINT feed_switch_pkey PRIMARY KEY (is_only)
);
COMMENT ON TABLE feed_switch IS 'One row at most: whether what happens leaves a message';
CREATE TABLE task_arrivals (
  id uuid NOT NULL,
  retries bigint NOT NULL,
  arrived_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT task_arrivals_pkey PRIMARY KEY (id, retries)
);
CREATE INDEX task_arrivals_arrived_at_idx ON task_arrivals USING brin (arrived_at);
COMMENT ON TABLE task_arrivals IS 'Tasks that came from RabbitMQ, so that none of them is run again when it is delivered again';
COMMENT ON COLUMN task_arrivals.retries IS 'As its sender counts them';
-- Rows come and go.
ALTER TABLE feed_messages SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);

CREATE FUNCTION feed_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM feed_switch WHERE is_on) THEN
    INSERT INTO feed_messages (kind, payload) VALUES ('run', jsonb_build_object('type', 'run.' || NEW.status, 'data', jsonb_build_object(
      'run_id', NEW.id, 'agent_id', NEW.agent_id, 'team_id', NEW.team_id, 'environment', NEW.environment, 'status', NEW.status,
      'parent_run_id', NEW.parent_run_id, 'session_id', NEW.session_id, 'started_at', NEW.started_at, 'ended_at', NEW.ended_at,
      'terminated_by', NEW.terminated_by)));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER feed_run_made AFTER INSERT ON agent_runs FOR EACH ROW EXECUTE FUNCTION feed_run();
CREATE TRIGGER feed_run_moved AFTER UPDATE OF status ON agent_runs FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
  EXECUTE FUNCTION feed_run();

CREATE FUNCTION feed_alert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM feed_switch WHERE is_on) THEN
    INSERT INTO feed_messages (kind, ids) VALUES ('alert', ARRAY[NEW.id]);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER feed_alert AFTER INSERT ON budget_alerts FOR EACH ROW EXECUTE FUNCTION feed_alert();

CREATE FUNCTION feed_exhausted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM feed_switch WHERE is_on) THEN
    INSERT INTO feed_messages (kind, payload) VALUES ('exhausted', jsonb_build_object('type', 'budget.exhausted', 'data', NEW.payload));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER feed_exhausted AFTER INSERT ON outbox FOR EACH ROW WHEN (NEW.topic = 'budgets.exhausted') EXECUTE FUNCTION feed_exhausted();
-- downgrade
DROP TRIGGER feed_exhausted ON outbox;
DROP FUNCTION feed_exhausted();
DROP TRIGGER feed_alert ON budget_alerts;
DROP FUNCTION feed_alert();
DROP TRIGGER feed_run_moved ON agent_runs;
DROP TRIGGER feed_run_made ON agent_runs;
DROP FUNCTION feed_run();
DROP TABLE task_arrivals;
DROP TABLE feed_switch;
DROP TABLE feed_messages;
