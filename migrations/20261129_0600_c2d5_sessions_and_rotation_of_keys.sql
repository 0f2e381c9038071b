-- revision: 20261129_0600_c2d5
-- down: 20261129_0455_8e07
-- message: sessions and rotation of keys
-- transaction: yes
-- upgrade
ALTER TABLE users ADD COLUMN name text NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN last_login_at timestamptz;
CREATE TABLE sessions (
  id uuid CONSTRAINT sessions_pkey PRIMARY KEY,
  user_id uuid NOT NULL CONSTRAINT sessions_user_id_fkey REFERENCES users ON DELETE CASCADE,
  address text NOT NULL,
  generation bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  refreshed_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  ended_at timestamptz,
  end_reason text,
  CONSTRAINT sessions_end_check CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
COMMENT ON TABLE sessions IS 'Of people who have signed in';
COMMENT ON COLUMN sessions.address IS 'Where it was begun from';
COMMENT ON COLUMN sessions.generation IS 'Of the refresh token that is accepted; an older one is a copy';
CREATE INDEX sessions_user_id_created_at_idx ON sessions USING btree (user_id, created_at);
ALTER TABLE api_keys ADD COLUMN last_used_at timestamptz;
ALTER TABLE api_keys ADD COLUMN rotated_at timestamptz;
ALTER TABLE api_keys ADD COLUMN previous_secret_hash bytea;
ALTER TABLE api_keys ADD COLUMN previous_secret_until timestamptz;
COMMENT ON COLUMN api_keys.previous_secret_hash IS 'Of the secret before the last rotation';
COMMENT ON COLUMN api_keys.previous_secret_until IS 'Until then it is accepted';
ALTER TABLE api_keys ADD CONSTRAINT api_keys_previous_secret_check CHECK ((previous_secret_hash IS NULL) = (previous_secret_until IS NULL) AND coalesce(length(previous_secret_hash), 32) = 32);
-- Not under another name later: every entry is sealed with what it says.
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_actor_kind_check;
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_actor_kind_check CHECK (actor_kind IN ('user', 'api_key', 'operator', 'anonymous'));
-- downgrade
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_actor_kind_check;
-- Entries of anonymous callers stay: the trail is append-only.
DO $$
BEGIN
  IF EXISTS (SELECT FROM audit_logs WHERE actor_kind = 'anonymous') THEN
    ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_actor_kind_check CHECK (actor_kind IN ('user', 'api_key', 'operator')) NOT VALID;
  ELSE
    ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_actor_kind_check CHECK (actor_kind IN ('user', 'api_key', 'operator'));
  END IF;
END $$;
ALTER TABLE api_keys DROP CONSTRAINT api_keys_previous_secret_check;
ALTER TABLE api_keys DROP COLUMN previous_secret_until;
ALTER TABLE api_keys DROP COLUMN previous_secret_hash;
ALTER TABLE api_keys DROP COLUMN rotated_at;
ALTER TABLE api_keys DROP COLUMN last_used_at;
DROP TABLE sessions;
ALTER TABLE users DROP COLUMN last_login_at;
ALTER TABLE users DROP COLUMN name;
