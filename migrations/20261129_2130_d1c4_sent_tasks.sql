-- revision: 20261129_2130_d1c4
-- down: 20261129_1705_b3f6
-- message: sent tasks
-- transaction: yes
-- upgrade
CREATE TABLE sent_tasks (
  id uuid NOT NULL,
  name text NOT NULL,
  queue text NOT NULL,
  request_digest bytea NOT NULL,
  message jsonb,
  message_bytes bigint NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  due_at timestamp with time zone,
  expires_at timestamp with time zone,
  attempts bigint DEFAULT 0 NOT NULL,
  last_error text,
  no_queue_since timestamp with time zone,
  sent_at timestamp with time zone,
  given_up_at timestamp with time zone,
  revoked_at timestamp with time zone,
  CONSTRAINT sent_tasks_pkey PRIMARY KEY (id)
);
CREATE INDEX sent_tasks_created_at_id_idx ON sent_tasks USING btree (created_at, id);
CREATE INDEX sent_tasks_waiting_idx ON sent_tasks USING btree (due_at) WHERE sent_at IS NULL AND given_up_at IS NULL AND revoked_at IS NULL;
CREATE INDEX sent_tasks_expires_at_idx ON sent_tasks USING btree (expires_at) WHERE expires_at IS NOT NULL AND sent_at IS NULL AND given_up_at IS NULL AND revoked_at IS NULL;
COMMENT ON TABLE sent_tasks IS 'Tasks for workers of Celery that were asked for, until they are forgotten';
COMMENT ON COLUMN sent_tasks.queue IS 'Of RabbitMQ';
COMMENT ON COLUMN sent_tasks.request_digest IS 'SHA-256 of all that was asked';
COMMENT ON COLUMN sent_tasks.message IS 'As it is to be sent; NULL: it never will be again';
COMMENT ON COLUMN sent_tasks.due_at IS 'Not sent before; whoever is sending it has put it off';
COMMENT ON COLUMN sent_tasks.expires_at IS 'Not sent after';
COMMENT ON COLUMN sent_tasks.attempts IS 'To send it';
COMMENT ON COLUMN sent_tasks.sent_at IS 'RabbitMQ has it';
-- downgrade
DROP TABLE sent_tasks;
