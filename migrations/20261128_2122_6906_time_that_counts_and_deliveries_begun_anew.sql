-- revision: 20261128_2122_6906
-- down: 20261128_1552_6c32
-- message: time that counts and deliveries begun anew
-- transaction: yes
-- upgrade
ALTER TABLE alert_deliveries ADD COLUMN series bigint DEFAULT 1 NOT NULL;
COMMENT ON COLUMN alert_deliveries.series IS 'Of attempts: another one begins when somebody wants it sent again';
ALTER TABLE alert_deliveries ADD COLUMN waiting_since timestamp with time zone DEFAULT now() NOT NULL;
COMMENT ON COLUMN alert_deliveries.waiting_since IS 'The last attempt, or the begin of the series';
ALTER TABLE budget_limits ADD COLUMN counts_from timestamp with time zone DEFAULT now() NOT NULL;
UPDATE budget_limits SET counts_from = created_at;
COMMENT ON COLUMN budget_limits.counts_from IS 'When it was last enabled: time that had passed before does not count';
-- Not concurrently: few wait at any time.
CREATE INDEX alert_deliveries_waiting_idx ON alert_deliveries USING btree (waiting_since) WHERE state = 'waiting'::text;
-- downgrade
DROP INDEX alert_deliveries_waiting_idx;
ALTER TABLE budget_limits DROP COLUMN counts_from;
ALTER TABLE alert_deliveries DROP COLUMN waiting_since;
ALTER TABLE alert_deliveries DROP COLUMN series;
