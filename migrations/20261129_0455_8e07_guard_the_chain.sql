-- revision: 20261129_0455_8e07
-- down: 20261129_0350_4b1d
-- message: guard the chain
-- transaction: yes
-- upgrade
ALTER TABLE audit_chain ADD COLUMN key_id bytea;
COMMENT ON COLUMN audit_chain.key_id IS 'Of the key that seals; NULL: nothing has been sealed yet';
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_seal_check;
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_seal_check CHECK ((sequence IS NULL) = (seal IS NULL) AND coalesce(length(seal), 32) = 32 AND coalesce(sequence, 1) > 0);
-- Not concurrently: changes wait for a moment.
CREATE INDEX audit_logs_team_idx ON audit_logs USING btree (team_id, occurred_at, id) WHERE team_id IS NOT NULL;
CREATE INDEX audit_logs_actor_idx ON audit_logs USING btree (actor_id, occurred_at, id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_logs_resource_idx ON audit_logs USING btree (resource_id, occurred_at, id);
CREATE FUNCTION audit_logs_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.sequence IS NULL THEN
    RAISE EXCEPTION 'an entry of the audit trail without a seal is refused: whoever writes it is older than this database' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_logs_sealed BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION audit_logs_sealed();
CREATE FUNCTION audit_chain_goes_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'UPDATE' THEN
    RAISE EXCEPTION 'the audit trail is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
  END IF;
  IF NEW.sequence <= OLD.sequence THEN
    RAISE EXCEPTION 'the end of the audit trail only goes on' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_chain_goes_on BEFORE UPDATE OR DELETE ON audit_chain FOR EACH ROW EXECUTE FUNCTION audit_chain_goes_on();
CREATE TRIGGER audit_chain_stays BEFORE TRUNCATE ON audit_chain FOR EACH STATEMENT EXECUTE FUNCTION audit_chain_goes_on();
-- downgrade
DROP TRIGGER audit_chain_stays ON audit_chain;
DROP TRIGGER audit_chain_goes_on ON audit_chain;
DROP FUNCTION audit_chain_goes_on();
DROP TRIGGER audit_logs_sealed ON audit_logs;
DROP FUNCTION audit_logs_sealed();
DROP INDEX audit_logs_resource_idx;
DROP INDEX audit_logs_actor_idx;
DROP INDEX audit_logs_team_idx;
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_seal_check;
ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_seal_check CHECK (length(seal) = 32 AND sequence IS NOT NULL OR seal IS NULL AND sequence IS NULL);
ALTER TABLE audit_chain DROP COLUMN key_id;
