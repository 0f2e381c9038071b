-- revision: 20261129_1005_9a27
-- down: 20261129_0815_5f1b
-- message: a root key, and encrypted targets of alerts
-- transaction: yes
-- upgrade
CREATE TABLE master_keys (
  id text CONSTRAINT master_keys_pkey PRIMARY KEY,
  sealed_root_key bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  used_at timestamptz
);
COMMENT ON TABLE master_keys IS 'The root key, which all other keys follow from, encrypted under each master key that is in use';
COMMENT ON COLUMN master_keys.id IS 'Tells one master key from another';
COMMENT ON COLUMN master_keys.used_at IS 'By a process that runs, right to about ten minutes';
ALTER TABLE alert_channels ADD COLUMN sealed_target bytea;
ALTER TABLE alert_channels ALTER COLUMN target DROP NOT NULL;
ALTER TABLE alert_channels ADD CONSTRAINT alert_channels_target_check CHECK ((target IS NULL) <> (sealed_target IS NULL));
COMMENT ON COLUMN alert_channels.sealed_target IS 'A URL or an e-mail address, by kind, encrypted';
COMMENT ON COLUMN alert_channels.target IS 'As it was stored before it was encrypted';
COMMENT ON COLUMN alert_channels.secret_version IS 'The secret that signs follows from the root key, the id and this';
-- downgrade
-- What is encrypted cannot be opened here: those channels have to be made anew.
DO $$
BEGIN
  IF EXISTS (SELECT FROM alert_channels WHERE sealed_target IS NOT NULL AND deleted_at IS NULL) THEN
    RAISE EXCEPTION 'There are alert channels whose targets are encrypted' USING HINT = 'Delete them first, and make them anew afterwards.';
  END IF;
  -- API keys, sessions, seals and webhook secrets of this installation follow from it.
  IF EXISTS (SELECT FROM master_keys) AND EXISTS (SELECT FROM audit_chain WHERE key_id IS NOT NULL) THEN
    RAISE EXCEPTION 'The keys of this installation follow from its root key, which would be lost' USING HINT = 'Restore a backup from before instead.';
  END IF;
END $$;
ALTER TABLE alert_channels DROP CONSTRAINT alert_channels_target_check;
UPDATE alert_channels SET target = '' WHERE target IS NULL;
ALTER TABLE alert_channels ALTER COLUMN target SET NOT NULL;
ALTER TABLE alert_channels DROP COLUMN sealed_target;
COMMENT ON COLUMN alert_channels.target IS 'A URL or an e-mail address, by kind';
COMMENT ON COLUMN alert_channels.secret_version IS 'The secret that signs follows from the master key, the id and this';
DROP TABLE master_keys;
