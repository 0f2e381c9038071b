-- revision: 20261130_0100_e7a1
-- down: 20261129_2130_d1c4
-- message: kept results
-- transaction: yes
-- upgrade
CREATE TABLE kept_results (
  task_id text NOT NULL,
  text text NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  stored_at timestamp with time zone,
  yields boolean DEFAULT false NOT NULL,
  CONSTRAINT kept_results_pkey PRIMARY KEY (task_id)
);
CREATE INDEX kept_results_waiting_idx ON kept_results USING btree (created_at) WHERE stored_at IS NULL;
COMMENT ON TABLE kept_results IS 'Results of tasks that Redis has not taken yet, and for a while those that it has';
COMMENT ON COLUMN kept_results.task_id IS 'As its sender chose it';
COMMENT ON COLUMN kept_results.text IS 'As Redis is to keep it';
COMMENT ON COLUMN kept_results.stored_at IS 'Redis has it';
COMMENT ON COLUMN kept_results.yields IS 'To an end of the task that its worker has told after all';
-- downgrade
DROP TABLE kept_results;
