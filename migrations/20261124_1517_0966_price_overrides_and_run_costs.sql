-- revision: 20261124_1517_0966
-- down: 20261124_1224_481a
-- message: price overrides and run costs
-- transaction: yes
-- upgrade
CREATE TABLE charge_adjustments (
  bucket date NOT NULL,
  run_id uuid NOT NULL,
  call_id uuid NOT NULL,
  sequence bigint NOT NULL,
  repricing_id uuid NOT NULL,
  team_id uuid NOT NULL,
  "timestamp" timestamp with time zone NOT NULL,
  old_price_status text NOT NULL,
  old_price_version_id uuid,
  old_cost_nano_usd bigint,
  new_price_status text NOT NULL,
  new_price_version_id uuid,
  new_cost_nano_usd bigint,
  difference_nano_usd bigint GENERATED ALWAYS AS ((COALESCE(new_cost_nano_usd, (0)::bigint) - COALESCE(old_cost_nano_usd, (0)::bigint))) STORED NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT charge_adjustments_pkey PRIMARY KEY (run_id, call_id, sequence, bucket)
);
CREATE INDEX charge_adjustments_bucket_idx ON charge_adjustments USING btree (bucket);
CREATE INDEX charge_adjustments_timestamp_idx ON charge_adjustments USING brin ("timestamp");
COMMENT ON TABLE charge_adjustments IS 'Calls are never changed: what a call is charged now is its latest adjustment, else its own cost';
COMMENT ON COLUMN charge_adjustments.bucket IS 'Of the call';
COMMENT ON COLUMN charge_adjustments.sequence IS 'Counts up from 1 per call';
COMMENT ON COLUMN charge_adjustments."timestamp" IS 'Of the call';
COMMENT ON COLUMN charge_adjustments.new_cost_nano_usd IS 'NULL: unpriced';
CREATE TABLE llm_price_overrides (
  id uuid NOT NULL,
  team_id uuid,
  provider text NOT NULL,
  model text NOT NULL,
  effective_from timestamp with time zone NOT NULL,
  rates jsonb,
  windows jsonb DEFAULT '[]'::jsonb NOT NULL,
  note text,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT llm_price_overrides_pkey PRIMARY KEY (id)
);
CREATE INDEX llm_price_overrides_created_at_idx ON llm_price_overrides USING btree (created_at, id);
COMMENT ON TABLE llm_price_overrides IS 'Price versions that operators have set; they win over llm_pricing. Rows are never changed';
COMMENT ON COLUMN llm_price_overrides.team_id IS 'NULL: of the organisation';
COMMENT ON COLUMN llm_price_overrides.model IS 'As calls report it, or of llm_models; lower case';
COMMENT ON COLUMN llm_price_overrides.rates IS 'NULL: ends here, what it covers holds again';
ALTER TABLE agent_runs ADD COLUMN cost_nano_usd bigint;
COMMENT ON COLUMN agent_runs.cost_nano_usd IS 'What the calls of an ended run are charged, to search by; NULL: to be summed';
ALTER TABLE agent_runs ADD COLUMN cost_due_at timestamp with time zone;
COMMENT ON COLUMN agent_runs.cost_due_at IS 'When the cost of an ended run is to be summed; NULL: it is, or the run goes on';
CREATE INDEX agent_runs_cost_due_at_idx ON agent_runs USING btree (cost_due_at) WHERE cost_due_at IS NOT NULL;
CREATE INDEX agent_runs_cost_nano_usd_idx ON agent_runs USING btree (cost_nano_usd);
CREATE INDEX agent_runs_started_at_idx ON agent_runs USING brin (started_at);
CREATE INDEX agent_runs_status_created_at_idx ON agent_runs USING btree (status, created_at, id);
CREATE INDEX agent_runs_team_id_created_at_idx ON agent_runs USING btree (team_id, created_at, id);
ALTER TABLE llm_price_overrides ADD CONSTRAINT llm_price_overrides_team_id_fkey FOREIGN KEY (team_id) REFERENCES teams(id);
-- Whoever can write must not be able to rewrite what things cost.
CREATE TRIGGER llm_price_overrides_immutable BEFORE UPDATE OR DELETE ON llm_price_overrides
  FOR EACH ROW EXECUTE FUNCTION llm_pricing_refuse_change();
CREATE TRIGGER llm_price_overrides_kept BEFORE TRUNCATE ON llm_price_overrides
  FOR EACH STATEMENT EXECUTE FUNCTION llm_pricing_refuse_change();
-- Adjustments say what things cost as well; they are deleted with the calls that they belong to.
CREATE FUNCTION charge_adjustments_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'charge adjustments are never changed: add a new one' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER charge_adjustments_immutable BEFORE UPDATE ON charge_adjustments
  FOR EACH ROW EXECUTE FUNCTION charge_adjustments_refuse_change();
CREATE TRIGGER charge_adjustments_kept BEFORE TRUNCATE ON charge_adjustments
  FOR EACH STATEMENT EXECUTE FUNCTION charge_adjustments_refuse_change();
-- The runs that have ended lately; the cost of older ones is summed whenever it is asked for, since they may be compressed.
UPDATE agent_runs SET cost_due_at = now() WHERE status NOT IN ('queued', 'running') AND bucket > current_date - 6;
-- downgrade
ALTER TABLE llm_price_overrides DROP CONSTRAINT llm_price_overrides_team_id_fkey;
DROP INDEX agent_runs_team_id_created_at_idx;
DROP INDEX agent_runs_status_created_at_idx;
DROP INDEX agent_runs_started_at_idx;
DROP INDEX agent_runs_cost_nano_usd_idx;
DROP INDEX agent_runs_cost_due_at_idx;
ALTER TABLE agent_runs DROP COLUMN cost_due_at;
ALTER TABLE agent_runs DROP COLUMN cost_nano_usd;
DROP TABLE llm_price_overrides;
DROP TABLE charge_adjustments;
DROP FUNCTION charge_adjustments_refuse_change();
