-- revision: 20261129_0350_4b1d
-- down: 20261128_2122_6906
-- message: chain the audit trail
-- transaction: yes
-- upgrade
-- What is sealed must come back to the byte.
ALTER TABLE audit_logs ALTER COLUMN details DROP DEFAULT;
ALTER TABLE audit_logs ALTER COLUMN details TYPE json USING details::json;
ALTER TABLE audit_logs ALTER COLUMN details SET DEFAULT '{}';
ALTER TABLE audit_logs ADD COLUMN sequence bigint;
COMMENT ON COLUMN audit_logs.sequence IS 'In the chain: 1, 2, 3, … without a gap; NULL: recorded before there was one';
ALTER TABLE audit_logs ADD COLUMN seal bytea;
COMMENT ON COLUMN audit_logs.seal IS 'HMAC-SHA-256 over the seal of the entry before and all that this one says';
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_sequence_key UNIQUE (sequence);
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_seal_check CHECK (length(seal) = 32 AND sequence IS NOT NULL OR seal IS NULL AND sequence IS NULL);
CREATE TABLE audit_chain (
  is_only boolean DEFAULT true NOT NULL,
  sequence bigint NOT NULL,
  seal bytea NOT NULL,
  CONSTRAINT audit_chain_pkey PRIMARY KEY (is_only),
  CONSTRAINT audit_chain_is_only_check CHECK (is_only),
  CONSTRAINT audit_chain_seal_check CHECK (length(seal) = 32)
);
COMMENT ON TABLE audit_chain IS 'One row: where the audit trail goes on';
COMMENT ON COLUMN audit_chain.sequence IS 'Of the last entry';
COMMENT ON COLUMN audit_chain.seal IS 'Of the last entry; before the first a digest of what was recorded before there was a chain';
INSERT INTO audit_chain (sequence, seal) SELECT 0, sha256(convert_to(coalesce(string_agg(concat_ws('|', id, (extract(epoch FROM occurred_at) * 1000000)::bigint, actor_kind, actor_id, action, resource_kind, resource_id, team_id, request_id, details::text), E'\n' ORDER BY occurred_at, id), ''), 'UTF8')) FROM audit_logs;
CREATE FUNCTION audit_logs_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit trail is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_logs FOR EACH STATEMENT EXECUTE FUNCTION audit_logs_append_only();
-- downgrade
DROP TRIGGER audit_logs_append_only ON audit_logs;
DROP FUNCTION audit_logs_append_only();
DROP TABLE audit_chain;
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_seal_check;
ALTER TABLE audit_logs DROP COLUMN seal;
ALTER TABLE audit_logs DROP COLUMN sequence;
ALTER TABLE audit_logs ALTER COLUMN details DROP DEFAULT;
ALTER TABLE audit_logs ALTER COLUMN details TYPE jsonb USING details::jsonb;
ALTER TABLE audit_logs ALTER COLUMN details SET DEFAULT '{}';
