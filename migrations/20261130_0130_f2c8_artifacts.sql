-- revision: 20261130_0130_f2c8
-- down: 20261130_0100_e7a1
-- message: artifacts
-- transaction: yes
-- upgrade
CREATE TABLE artifacts (
  id uuid NOT NULL,
  team_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  run_id uuid,
  name text NOT NULL,
  content_type text NOT NULL,
  state text DEFAULT 'uploading' NOT NULL,
  way text NOT NULL,
  object_key text NOT NULL,
  upload_id text,
  declared_sha256 bytea,
  bytes bigint,
  sha256 bytea,
  etag text,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  touched_at timestamp with time zone DEFAULT now() NOT NULL,
  stored_at timestamp with time zone,
  expires_at timestamp with time zone,
  CONSTRAINT artifacts_pkey PRIMARY KEY (id),
  CONSTRAINT artifacts_object_key_key UNIQUE (object_key),
  CONSTRAINT artifacts_team_id_fkey FOREIGN KEY (team_id) REFERENCES teams (id),
  CONSTRAINT artifacts_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id),
  CONSTRAINT artifacts_state_check CHECK (state IN ('uploading', 'stored')),
  CONSTRAINT artifacts_way_check CHECK (way IN ('one_go', 'parts', 'direct')),
  CONSTRAINT artifacts_stored_check CHECK (state <> 'stored' OR (bytes IS NOT NULL AND stored_at IS NOT NULL))
);
CREATE INDEX artifacts_created_at_idx ON artifacts USING btree (created_at, id);
CREATE INDEX artifacts_agent_id_created_at_idx ON artifacts USING btree (agent_id, created_at, id);
CREATE INDEX artifacts_team_id_created_at_idx ON artifacts USING btree (team_id, created_at, id);
CREATE INDEX artifacts_run_id_created_at_idx ON artifacts USING btree (run_id, created_at, id) WHERE run_id IS NOT NULL;
CREATE INDEX artifacts_unfinished_idx ON artifacts USING btree (touched_at) WHERE state <> 'stored';
CREATE INDEX artifacts_expires_at_idx ON artifacts USING btree (expires_at) WHERE state = 'stored';
COMMENT ON TABLE artifacts IS 'Files of agents, whose bytes are in the object storage';
COMMENT ON COLUMN artifacts.object_key IS 'In the bucket; another one for each try, so that no try writes over another';
COMMENT ON COLUMN artifacts.way IS 'How it comes: in one go, in parts, or past us';
COMMENT ON COLUMN artifacts.upload_id IS 'Of the store, when it comes in parts; NULL: not begun there';
COMMENT ON COLUMN artifacts.etag IS 'Of the object, as the object storage calls what was stored';
COMMENT ON COLUMN artifacts.touched_at IS 'When the upload last went on';
CREATE TABLE artifact_parts (
  artifact_id uuid NOT NULL,
  number bigint NOT NULL,
  etag text NOT NULL,
  bytes bigint NOT NULL,
  sha256 bytea NOT NULL,
  CONSTRAINT artifact_parts_pkey PRIMARY KEY (artifact_id, number),
  CONSTRAINT artifact_parts_artifact_id_fkey FOREIGN KEY (artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE
);
COMMENT ON TABLE artifact_parts IS 'Of uploads in parts: those that the object storage has';
COMMENT ON COLUMN artifact_parts.etag IS 'As the object storage calls it';
CREATE TABLE artifact_leftovers (
  object_key text NOT NULL,
  upload_id text,
  remove_after timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT artifact_leftovers_pkey PRIMARY KEY (object_key)
);
CREATE INDEX artifact_leftovers_remove_after_idx ON artifact_leftovers USING btree (remove_after);
COMMENT ON TABLE artifact_leftovers IS 'Objects that no artifact has any more, until the object storage has removed them';
COMMENT ON COLUMN artifact_leftovers.remove_after IS 'While it may still be written or read';
-- downgrade
DROP TABLE artifact_leftovers;
DROP TABLE artifact_parts;
DROP TABLE artifacts;
