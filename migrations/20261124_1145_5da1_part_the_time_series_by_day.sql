-- revision: 20261124_1145_5da1
-- down: 20261124_0940_c718
-- message: part the time series by day
-- transaction: yes
-- upgrade
-- Time series become tables of day partitions by `bucket`: TimescaleDB's hypertables, compressed after a week, where the
-- extension is created in this database and does all of that (its Apache-licensed build does not); PostgreSQL's own
-- partitions everywhere else. Takes one copy of the tables, which nobody can use meanwhile.
--
-- `bucket` of ids that have no day inside was 1970-01-01; it becomes 9999-12-31, so that what grows old by the day (the
-- compression policy, a drop of old chunks) never takes the undated ids for old ones. Days before 2020 and from 2100 on
-- are no clock's and count as undated too, which bounds the number of days.

-- Makes the partitions of the days from `first` to `last` that are missing in the tables partitioned by `bucket`, and
-- returns how many. Rows of such a day that came before are moved out of the partition of strays. Makes none in hypertables.
CREATE FUNCTION make_day_partitions(first date, last date) RETURNS integer LANGUAGE plpgsql
  SET lock_timeout = '2s' AS $$
DECLARE
  series text;
  day date;
  partition text;
  made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('make_day_partitions', 0));
  FOR series IN
    SELECT c.relname FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid
    WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND pg_get_partkeydef(c.oid) = 'RANGE (bucket)' ORDER BY 1
  LOOP
    FOR day IN SELECT generate_series(first, last, interval '1 day')::date LOOP
      partition := format('%s_%s', series, to_char(day, 'YYYYMMDD'));
      CONTINUE WHEN to_regclass(quote_ident(partition)) IS NOT NULL;
      -- Attached, not created in place: that would keep everybody out of the whole table. The strays are locked first, since
      -- attaching locks them anyway, and a lock that is raised later invites a deadlock.
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', partition, series);
      EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', series || '_stray');
      EXECUTE format('WITH moved AS (DELETE FROM %I WHERE bucket = %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
                     series || '_stray', day, partition);
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', series, partition, day, day + 1);
      made := made + 1;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;

ALTER TABLE agent_runs RENAME TO agent_runs_before;
ALTER TABLE execution_steps RENAME TO execution_steps_before;
ALTER TABLE llm_calls RENAME TO llm_calls_before;
ALTER TABLE tool_invocations RENAME TO tool_invocations_before;

DO $$
DECLARE
  series text;
  -- Where the extension's functions are, if it can do all that is needed.
  home text := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'timescaledb' AND current_setting('timescaledb.license', true) = 'timescale'
    AND EXISTS (SELECT FROM pg_proc p WHERE p.proname = 'add_compression_policy' AND p.pronamespace = n.oid));
BEGIN
  FOREACH series IN ARRAY ARRAY['agent_runs', 'execution_steps', 'llm_calls', 'tool_invocations'] LOOP
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS) %s', series,
                   series || '_before', CASE WHEN home IS NULL THEN 'PARTITION BY RANGE (bucket)' ELSE '' END);
    IF home IS NOT NULL THEN
      EXECUTE format('SELECT %I.create_hypertable(%L::regclass, ''bucket'', chunk_time_interval => interval ''1 day'', '
                     'create_default_indexes => false)', home, quote_ident(series));
    ELSE
      EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (''9999-12-31'') TO (MAXVALUE)',
                     series || '_undated', series);
      EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', series || '_stray', series);
    END IF;
  END LOOP;
END $$;

-- Days further off stay with the strays.
SELECT make_day_partitions(day, day) FROM (
  SELECT generate_series(current_date - 1, current_date + 7, interval '1 day')::date UNION SELECT bucket FROM agent_runs_before
  UNION SELECT bucket FROM execution_steps_before UNION SELECT bucket FROM llm_calls_before
  UNION SELECT bucket FROM tool_invocations_before
) AS days (day) WHERE day BETWEEN current_date - 90 AND current_date + 7 ORDER BY day;

-- Ids without a day inside.
UPDATE agent_runs_before SET bucket = '9999-12-31' WHERE bucket < '2020-01-01' OR bucket >= '2100-01-01';
UPDATE execution_steps_before SET bucket = '9999-12-31' WHERE bucket < '2020-01-01' OR bucket >= '2100-01-01';
UPDATE llm_calls_before SET bucket = '9999-12-31' WHERE bucket < '2020-01-01' OR bucket >= '2100-01-01';
UPDATE tool_invocations_before SET bucket = '9999-12-31' WHERE bucket < '2020-01-01' OR bucket >= '2100-01-01';

INSERT INTO agent_runs SELECT * FROM agent_runs_before;
INSERT INTO execution_steps SELECT * FROM execution_steps_before;
INSERT INTO llm_calls SELECT * FROM llm_calls_before;
INSERT INTO tool_invocations SELECT * FROM tool_invocations_before;
DROP TABLE agent_runs_before;
DROP TABLE execution_steps_before;
DROP TABLE llm_calls_before;
DROP TABLE tool_invocations_before;

ALTER TABLE agent_runs ADD CONSTRAINT agent_runs_pkey PRIMARY KEY (id, bucket);
ALTER TABLE agent_runs ADD CONSTRAINT agent_runs_team_id_fkey FOREIGN KEY (team_id) REFERENCES teams;
ALTER TABLE agent_runs ADD CONSTRAINT agent_runs_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents;
CREATE INDEX agent_runs_created_at_idx ON agent_runs (created_at, id);
CREATE INDEX agent_runs_active_idx ON agent_runs (agent_id) WHERE status IN ('queued', 'running');
CREATE INDEX agent_runs_agent_id_created_at_idx ON agent_runs (agent_id, created_at, id);
ALTER TABLE execution_steps ADD CONSTRAINT execution_steps_pkey PRIMARY KEY (run_id, id, bucket);
ALTER TABLE llm_calls ADD CONSTRAINT llm_calls_pkey PRIMARY KEY (run_id, id, bucket);
CREATE INDEX llm_calls_timestamp_idx ON llm_calls USING brin ("timestamp");
ALTER TABLE tool_invocations ADD CONSTRAINT tool_invocations_pkey PRIMARY KEY (run_id, id, bucket);

DO $$
DECLARE
  series text;
  home text := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'timescaledb');
BEGIN
  IF home IS NULL THEN
    RETURN;
  END IF;
  FOR series IN
    EXECUTE 'SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = current_schema()'
  LOOP
    -- A repeat of an old event is looked for in the compressed rows of its agent only, and among them by the key's range.
    EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = ''agent_id'', '
                   'timescaledb.compress_orderby = %L)', series, CASE series WHEN 'agent_runs' THEN 'id, bucket' ELSE 'run_id, id, bucket' END);
    EXECUTE format('SELECT %I.add_compression_policy(%L::regclass, interval ''7 days'')', home, quote_ident(series));
  END LOOP;
END $$;
-- downgrade
ALTER TABLE agent_runs RENAME TO agent_runs_before;
ALTER TABLE execution_steps RENAME TO execution_steps_before;
ALTER TABLE llm_calls RENAME TO llm_calls_before;
ALTER TABLE tool_invocations RENAME TO tool_invocations_before;
CREATE TABLE agent_runs (LIKE agent_runs_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS);
CREATE TABLE execution_steps (LIKE execution_steps_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS);
CREATE TABLE llm_calls (LIKE llm_calls_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS);
CREATE TABLE tool_invocations (LIKE tool_invocations_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS);
INSERT INTO agent_runs SELECT * FROM agent_runs_before;
INSERT INTO execution_steps SELECT * FROM execution_steps_before;
INSERT INTO llm_calls SELECT * FROM llm_calls_before;
INSERT INTO tool_invocations SELECT * FROM tool_invocations_before;
DROP TABLE agent_runs_before;
DROP TABLE execution_steps_before;
DROP TABLE llm_calls_before;
DROP TABLE tool_invocations_before;
-- What was undated by the narrower rule has the day inside its version-7 id again, up to the year 9999 (milliseconds).
CREATE FUNCTION day_of_id(id uuid) RETURNS date LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN substr(id::text, 15, 1) = '7' AND milliseconds < 253402300800000
    THEN date '1970-01-01' + (milliseconds / 86400000)::integer ELSE '1970-01-01' END
  FROM (SELECT ('x' || substr(replace(id::text, '-', ''), 1, 12))::bit(48)::bigint) AS inside (milliseconds)
$$;
UPDATE agent_runs SET bucket = day_of_id(id) WHERE bucket = '9999-12-31';
UPDATE execution_steps SET bucket = day_of_id(id) WHERE bucket = '9999-12-31';
UPDATE llm_calls SET bucket = day_of_id(id) WHERE bucket = '9999-12-31';
UPDATE tool_invocations SET bucket = day_of_id(id) WHERE bucket = '9999-12-31';
DROP FUNCTION day_of_id(uuid);
ALTER TABLE agent_runs ADD CONSTRAINT agent_runs_pkey PRIMARY KEY (id, bucket);
ALTER TABLE agent_runs ADD CONSTRAINT agent_runs_team_id_fkey FOREIGN KEY (team_id) REFERENCES teams;
ALTER TABLE agent_runs ADD CONSTRAINT agent_runs_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents;
CREATE INDEX agent_runs_created_at_idx ON agent_runs (created_at, id);
CREATE INDEX agent_runs_active_idx ON agent_runs (agent_id) WHERE status IN ('queued', 'running');
CREATE INDEX agent_runs_agent_id_created_at_idx ON agent_runs (agent_id, created_at, id);
ALTER TABLE execution_steps ADD CONSTRAINT execution_steps_pkey PRIMARY KEY (run_id, id, bucket);
ALTER TABLE llm_calls ADD CONSTRAINT llm_calls_pkey PRIMARY KEY (run_id, id, bucket);
CREATE INDEX llm_calls_timestamp_idx ON llm_calls USING brin ("timestamp");
ALTER TABLE tool_invocations ADD CONSTRAINT tool_invocations_pkey PRIMARY KEY (run_id, id, bucket);
DROP FUNCTION make_day_partitions(date, date);
