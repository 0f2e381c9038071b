-- revision: 20261130_0430_a9d4
-- down: 20261130_0130_f2c8
-- message: exports
-- transaction: yes
-- upgrade
CREATE TABLE exports (
  id uuid NOT NULL,
  kind text NOT NULL,
  format text NOT NULL,
  begins_at timestamp with time zone,
  ends_at timestamp with time zone,
  team_id uuid,
  agent_id uuid,
  run_id uuid,
  state text DEFAULT 'waiting' NOT NULL,
  progress double precision DEFAULT 0 NOT NULL,
  rows_written bigint DEFAULT 0 NOT NULL,
  object_key text,
  bytes bigint,
  sha256 bytea,
  etag text,
  error text,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  finished_at timestamp with time zone,
  expires_at timestamp with time zone,
  removed_at timestamp with time zone,
  CONSTRAINT exports_pkey PRIMARY KEY (id),
  CONSTRAINT exports_team_id_fkey FOREIGN KEY (team_id) REFERENCES teams (id),
  CONSTRAINT exports_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id),
  CONSTRAINT exports_kind_check CHECK (kind IN ('calls', 'runs', 'costs', 'audit', 'replay')),
  CONSTRAINT exports_format_check CHECK (format IN ('csv', 'jsonl')),
  CONSTRAINT exports_state_check CHECK (state IN ('waiting', 'running', 'done', 'failed')),
  CONSTRAINT exports_of_what_check CHECK ((run_id IS NULL) = (kind <> 'replay') AND (begins_at IS NULL) = (kind = 'replay') AND (ends_at IS NULL) = (kind = 'replay')),
  CONSTRAINT exports_done_check CHECK (state <> 'done' OR (object_key IS NOT NULL AND bytes IS NOT NULL AND sha256 IS NOT NULL AND finished_at IS NOT NULL))
);
COMMENT ON TABLE exports IS 'Files made of what is stored, whose bytes are in the object storage';
COMMENT ON COLUMN exports.begins_at IS 'Inclusive';
COMMENT ON COLUMN exports.ends_at IS 'Exclusive';
COMMENT ON COLUMN exports.team_id IS 'NULL: of all teams';
COMMENT ON COLUMN exports.agent_id IS 'NULL: of all agents';
COMMENT ON COLUMN exports.run_id IS 'That a replay is of';
COMMENT ON COLUMN exports.progress IS '0 to 1';
COMMENT ON COLUMN exports.object_key IS 'Of the latest attempt; each has another one, so that none writes over another';
COMMENT ON COLUMN exports.etag IS 'Of the object';
COMMENT ON COLUMN exports.error IS 'Of the latest attempt';
COMMENT ON COLUMN exports.removed_at IS 'Nobody sees it any more; its object is about to go';
CREATE INDEX exports_created_at_idx ON exports (created_at, id);
CREATE INDEX exports_team_id_created_at_idx ON exports (team_id, created_at, id);
CREATE INDEX exports_expires_at_idx ON exports (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX exports_unfinished_idx ON exports (state) WHERE state IN ('waiting', 'running');
CREATE INDEX exports_removed_at_idx ON exports (removed_at) WHERE removed_at IS NOT NULL;
-- downgrade
DROP TABLE exports;
