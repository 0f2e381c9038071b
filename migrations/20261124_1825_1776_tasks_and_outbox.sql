-- revision: 20261124_1825_1776
-- down: 20261124_1517_0966
-- message: tasks and outbox
-- transaction: yes
-- upgrade
CREATE TABLE outbox (
  sequence bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  transaction_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
  topic text NOT NULL,
  payload jsonb NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT outbox_pkey PRIMARY KEY (sequence)
);
COMMENT ON TABLE outbox IS 'What happened, written in the transaction in which it did; the leader makes tasks of it';
COMMENT ON COLUMN outbox.sequence IS 'Not in the order of commits';
COMMENT ON COLUMN outbox.transaction_id IS 'Below the oldest transaction that runs, nothing is added any more';
CREATE TABLE task_schedules (
  name text NOT NULL,
  task text NOT NULL,
  interval_ms bigint NOT NULL,
  last_slot timestamp with time zone NOT NULL,
  CONSTRAINT task_schedules_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE task_schedules IS 'What the leader enqueues periodically, as it last did';
COMMENT ON COLUMN task_schedules.task IS 'Name of the task that it enqueues';
COMMENT ON COLUMN task_schedules.last_slot IS 'The multiple of the interval since 1970 for which it last enqueued';
CREATE TABLE tasks (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  queue text DEFAULT 'default'::text NOT NULL,
  name text NOT NULL,
  payload jsonb DEFAULT '{}'::jsonb NOT NULL,
  key text,
  due_at timestamp with time zone DEFAULT now() NOT NULL,
  expires_at timestamp with time zone,
  attempts integer DEFAULT 0 NOT NULL,
  attempts_max integer DEFAULT 5 NOT NULL,
  time_limit_ms bigint DEFAULT 60000 NOT NULL,
  claimed_by text,
  claimed_at timestamp with time zone,
  claimed_until timestamp with time zone,
  last_error text,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  died_at timestamp with time zone,
  CONSTRAINT tasks_attempts_check CHECK (((attempts >= 0) AND (attempts_max >= 1))),
  CONSTRAINT tasks_pkey PRIMARY KEY (id),
  CONSTRAINT tasks_time_limit_check CHECK ((time_limit_ms > 0))
);
CREATE INDEX tasks_alive_idx ON tasks USING btree (queue, due_at) WHERE died_at IS NULL;
CREATE UNIQUE INDEX tasks_alive_key_idx ON tasks USING btree (name, key) WHERE key IS NOT NULL AND died_at IS NULL;
CREATE INDEX tasks_claimed_until_idx ON tasks USING btree (claimed_until) WHERE claimed_until IS NOT NULL;
CREATE INDEX tasks_dead_idx ON tasks USING btree (died_at, id) WHERE died_at IS NOT NULL;
CREATE INDEX tasks_expires_at_idx ON tasks USING btree (expires_at) WHERE expires_at IS NOT NULL AND died_at IS NULL;
COMMENT ON TABLE tasks IS 'Background work that waits, runs or has failed for good; what is finished is deleted';
COMMENT ON COLUMN tasks.name IS 'Of the handler';
COMMENT ON COLUMN tasks.key IS 'At most one task of a name with this key waits or runs';
COMMENT ON COLUMN tasks.due_at IS 'Not taken before';
COMMENT ON COLUMN tasks.expires_at IS 'Not taken after';
COMMENT ON COLUMN tasks.attempts IS 'Begun so far';
COMMENT ON COLUMN tasks.time_limit_ms IS 'Of one attempt';
COMMENT ON COLUMN tasks.claimed_by IS 'The worker that runs it';
COMMENT ON COLUMN tasks.claimed_until IS 'The worker extends it; once it has passed, the worker is lost and another one takes the task';
COMMENT ON COLUMN tasks.died_at IS 'When it became a dead letter; NULL: it waits or runs';
-- Rows come and go: pages keep room for the update of a claim, and what was deleted is cleared away soon, however large
-- the tables have been at times.
ALTER TABLE tasks SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);

-- Retention. A row counts by when it arrived, whatever its day: a run by when it was made, or last heard of, or ended, and
-- as long as it goes on.
CREATE FUNCTION arrived_since_condition(series text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE series WHEN 'agent_runs' THEN
    '(status IN (''queued'', ''running'') OR greatest(created_at, last_seen_at, ended_at) >= $1)' ELSE '(arrived_at >= $1)' END
$$;

-- The tables of the series that hold days before `before`, and those that hold what has no day of its own (`day` NULL).
CREATE FUNCTION series_parts(before date) RETURNS TABLE (series text, day date, part regclass) LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN QUERY SELECT p.relname::text, to_date(right(c.relname, 8), 'YYYYMMDD'), c.oid::regclass
    FROM pg_partitioned_table t JOIN pg_class p ON p.oid = t.partrelid JOIN pg_inherits i ON i.inhparent = p.oid
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE p.relnamespace = quote_ident(current_schema())::regnamespace AND pg_get_partkeydef(p.oid) = 'RANGE (bucket)'
    AND c.relname ~ ('^' || p.relname || '_[0-9]{8}$') AND right(c.relname, 8) < to_char(before, 'YYYYMMDD');
  RETURN QUERY SELECT p.relname::text, NULL::date, c.oid::regclass
    FROM pg_partitioned_table t JOIN pg_class p ON p.oid = t.partrelid JOIN pg_inherits i ON i.inhparent = p.oid
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE p.relnamespace = quote_ident(current_schema())::regnamespace AND pg_get_partkeydef(p.oid) = 'RANGE (bucket)'
    AND c.relname IN (p.relname || '_undated', p.relname || '_stray');
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
    RETURN QUERY EXECUTE 'SELECT hypertable_name::text, CASE WHEN range_start < ''9999-12-31'' THEN range_start::date END,
      format(''%I.%I'', chunk_schema, chunk_name)::regclass FROM timescaledb_information.chunks
      WHERE hypertable_schema = current_schema() AND (range_start >= ''9999-12-31'' OR range_end <= $1::timestamptz)' USING before;
  END IF;
END $$;

-- Drops a day of a series, unless something of it has arrived since. How many rows that were; NULL: it is kept. Keeps
-- writers of that day out while it looks, and everybody out of the series while it drops.
CREATE FUNCTION drop_day(in_series text, old_day date, since timestamptz) RETURNS bigint LANGUAGE plpgsql
  SET lock_timeout = '2s' AS $$
DECLARE
  place regclass := (SELECT p.part FROM series_parts(old_day + 1) p WHERE p.series = in_series AND p.day = old_day);
  home text := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb');
  count_all bigint;
  has_recent boolean;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('make_day_partitions', 0));
  IF place IS NULL THEN
    RETURN NULL;
  END IF;
  -- Without a lock first: what is kept is looked at again and again, and nobody shall wait for that.
  EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE bucket = $2 AND %s)', in_series, arrived_since_condition(in_series))
    INTO has_recent USING since, old_day;
  IF has_recent THEN
    RETURN NULL;
  END IF;
  EXECUTE format('LOCK TABLE %s IN SHARE MODE', place);
  EXECUTE format('SELECT count(*), coalesce(bool_or(%s), false) FROM %I WHERE bucket = $2', arrived_since_condition(in_series), in_series)
    INTO count_all, has_recent USING since, old_day;
  IF has_recent THEN
    RETURN NULL;
  END IF;
  IF in_series = 'llm_calls' THEN
    DELETE FROM charge_adjustments WHERE bucket = old_day;
  END IF;
  IF EXISTS (SELECT FROM pg_inherits i JOIN pg_partitioned_table t ON t.partrelid = i.inhparent WHERE i.inhrelid = place) THEN
    EXECUTE format('DROP TABLE %s', place);
  ELSE
    EXECUTE format('SELECT %I.drop_chunks(%L::regclass, older_than => %L::date, newer_than => %L::date)', home, quote_ident(in_series),
                   old_day + 1, old_day);
  END IF;
  RETURN count_all;
END $$;

-- Deletes what has not arrived since from some pages of a table of series_parts, and the adjustments of its calls. How many
-- rows that were, and whether there are more pages behind.
CREATE FUNCTION prune_pages(in_series text, place regclass, first_page bigint, pages bigint, since timestamptz, OUT deleted bigint, OUT more boolean)
  LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
BEGIN
  more := pg_relation_size(place) > (first_page + pages) * current_setting('block_size')::bigint;
  EXECUTE format('WITH gone AS (DELETE FROM %s WHERE ctid >= %L AND ctid < %L AND NOT %s RETURNING bucket, %s), '
                 'adjustments AS (DELETE FROM charge_adjustments a USING gone g WHERE %s) SELECT count(*) FROM gone',
                 place, format('(%s,0)', first_page), format('(%s,0)', first_page + pages), arrived_since_condition(in_series),
                 CASE in_series WHEN 'agent_runs' THEN 'id' ELSE 'run_id, id' END,
                 CASE in_series WHEN 'llm_calls' THEN 'a.run_id = g.run_id AND a.call_id = g.id AND a.bucket = g.bucket' ELSE 'false' END)
    INTO deleted USING since;
END $$;
-- downgrade
DROP FUNCTION prune_pages(text, regclass, bigint, bigint, timestamptz);
DROP FUNCTION drop_day(text, date, timestamptz);
DROP FUNCTION series_parts(date);
DROP FUNCTION arrived_since_condition(text);
DROP TABLE tasks;
DROP TABLE task_schedules;
DROP TABLE outbox;
