-- revision: 20261124_0500_9c41
-- down: none
-- message: initial
-- transaction: yes
-- upgrade
CREATE TABLE teams (
  id uuid CONSTRAINT teams_pkey PRIMARY KEY,
  name text NOT NULL CONSTRAINT teams_name_key UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE teams IS 'Owners of agents and budgets';
-- The team of everything that names no other.
INSERT INTO teams (id, name) VALUES ('00000000-0000-7000-8000-000000000001', 'default');

CREATE TABLE users (
  id uuid CONSTRAINT users_pkey PRIMARY KEY,
  email text NOT NULL CONSTRAINT users_email_key UNIQUE,
  password_hash text NOT NULL,
  status text NOT NULL DEFAULT 'active' CONSTRAINT users_status_check CHECK (status IN ('active', 'suspended')),
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN users.email IS 'Lower case';
COMMENT ON COLUMN users.password_hash IS 'Argon2id in its encoded form, with salt and parameters';

CREATE TABLE roles (
  name text CONSTRAINT roles_pkey PRIMARY KEY,
  description text NOT NULL
);
INSERT INTO roles (name, description) VALUES
  ('admin', 'Everything in the organisation'),
  ('team_lead', 'Everything in one team'),
  ('developer', 'Agents, runs and events of one team'),
  ('viewer', 'Reading what one team has');

CREATE TABLE user_roles (
  user_id uuid NOT NULL CONSTRAINT user_roles_user_id_fkey REFERENCES users ON DELETE CASCADE,
  role text NOT NULL CONSTRAINT user_roles_role_fkey REFERENCES roles,
  team_id uuid CONSTRAINT user_roles_team_id_fkey REFERENCES teams ON DELETE CASCADE,
  CONSTRAINT user_roles_key UNIQUE NULLS NOT DISTINCT (user_id, role, team_id)
);
COMMENT ON COLUMN user_roles.team_id IS 'NULL: the role holds in the whole organisation';

CREATE TABLE agents (
  id uuid CONSTRAINT agents_pkey PRIMARY KEY,
  team_id uuid NOT NULL CONSTRAINT agents_team_id_fkey REFERENCES teams,
  name text NOT NULL,
  description text,
  framework text NOT NULL,
  environment text NOT NULL,
  version text,
  status text NOT NULL CONSTRAINT agents_status_check CHECK (status IN ('active', 'suspended', 'archived')),
  allowed_providers text[] NOT NULL DEFAULT '{}',
  allowed_models text[] NOT NULL DEFAULT '{}',
  allowed_tools text[] NOT NULL DEFAULT '{}',
  allowed_data_sources text[] NOT NULL DEFAULT '{}',
  labels jsonb NOT NULL DEFAULT '{}',
  metadata jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  archived_at timestamptz,
  CONSTRAINT agents_team_id_name_key UNIQUE (team_id, name)
);
COMMENT ON COLUMN agents.allowed_models IS 'Patterns; an empty list allows everything';
CREATE INDEX agents_created_at_idx ON agents (created_at, id);

CREATE TABLE api_keys (
  id uuid CONSTRAINT api_keys_pkey PRIMARY KEY,
  name text NOT NULL,
  team_id uuid CONSTRAINT api_keys_team_id_fkey REFERENCES teams,
  agent_id uuid CONSTRAINT api_keys_agent_id_fkey REFERENCES agents,
  permissions text[] NOT NULL,
  secret_hash bytea NOT NULL CONSTRAINT api_keys_secret_hash_check CHECK (length(secret_hash) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz
);
COMMENT ON COLUMN api_keys.team_id IS 'NULL: the key holds in the whole organisation';
COMMENT ON COLUMN api_keys.secret_hash IS 'HMAC-SHA-256 of the secret under a key derived from the master key';

CREATE TABLE audit_logs (
  id uuid CONSTRAINT audit_logs_pkey PRIMARY KEY,
  occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor_kind text NOT NULL CONSTRAINT audit_logs_actor_kind_check CHECK (actor_kind IN ('user', 'api_key', 'operator')),
  actor_id uuid,
  action text NOT NULL,
  resource_kind text NOT NULL,
  resource_id text NOT NULL,
  team_id uuid,
  request_id text,
  details jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE audit_logs IS 'Every change to configuration, identity and prices, written in the transaction of the change';
CREATE INDEX audit_logs_occurred_at_idx ON audit_logs (occurred_at, id);

CREATE TABLE llm_catalogue_imports (
  id uuid CONSTRAINT llm_catalogue_imports_pkey PRIMARY KEY,
  source text NOT NULL,
  retrieved date,
  models_added bigint NOT NULL,
  versions_added bigint NOT NULL,
  refused bigint NOT NULL,
  imported_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- clock_timestamp, not now: imports wait for each other after their transactions have begun, and the last one must be the newest.
COMMENT ON TABLE llm_catalogue_imports IS 'Every import that changed something; its newest row tells other nodes to read the catalogue again';

CREATE TABLE llm_providers (
  id text CONSTRAINT llm_providers_pkey PRIMARY KEY,
  position integer NOT NULL,
  name text NOT NULL,
  provider_match jsonb,
  model_match jsonb,
  fallback_providers text[] NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN llm_providers.position IS 'Order of matching: the first provider that matches wins';

CREATE TABLE llm_models (
  provider_id text NOT NULL CONSTRAINT llm_models_provider_id_fkey REFERENCES llm_providers ON DELETE CASCADE,
  id text NOT NULL,
  position integer NOT NULL,
  name text,
  match jsonb NOT NULL,
  context_window bigint,
  deprecated boolean NOT NULL DEFAULT false,
  CONSTRAINT llm_models_pkey PRIMARY KEY (provider_id, id)
);

CREATE TABLE llm_pricing (
  id uuid CONSTRAINT llm_pricing_pkey PRIMARY KEY,
  provider text NOT NULL,
  model text NOT NULL,
  version bigint NOT NULL,
  effective_from timestamptz NOT NULL,
  rates jsonb NOT NULL,
  windows jsonb NOT NULL DEFAULT '[]',
  source text NOT NULL,
  retrieved date,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT llm_pricing_provider_model_version_key UNIQUE (provider, model, version)
);
COMMENT ON TABLE llm_pricing IS 'Price versions: a rate card holds from effective_from until the next one of its model; rows are never changed';
COMMENT ON COLUMN llm_pricing.rates IS 'USD per unit of the rate''s own size, for instance input_mtok: per million input tokens';
COMMENT ON COLUMN llm_pricing.windows IS 'Daily windows (UTC) with rates of their own, the first that holds wins';
CREATE FUNCTION llm_pricing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'price versions are never changed: add a new one' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER llm_pricing_immutable BEFORE UPDATE OR DELETE ON llm_pricing
  FOR EACH ROW EXECUTE FUNCTION llm_pricing_refuse_change();
CREATE TRIGGER llm_pricing_kept BEFORE TRUNCATE ON llm_pricing
  FOR EACH STATEMENT EXECUTE FUNCTION llm_pricing_refuse_change();

-- Time series are keyed by (bucket, run, id). `bucket` is a function of the id alone, the UTC day inside a version-7 id and
-- 1970-01-01 for every other, so that a repeat always meets its first copy although partitioned tables can only be unique together
-- with the partition column. One B-tree serves the key and the drill-down by run; BRIN serves time.
CREATE TABLE agent_runs (
  bucket date NOT NULL,
  id uuid NOT NULL,
  team_id uuid NOT NULL CONSTRAINT agent_runs_team_id_fkey REFERENCES teams,
  agent_id uuid NOT NULL CONSTRAINT agent_runs_agent_id_fkey REFERENCES agents,
  environment text NOT NULL,
  status text NOT NULL
    CONSTRAINT agent_runs_status_check CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'terminated')),
  placeholder boolean NOT NULL DEFAULT false,
  parent_run_id uuid,
  session_id text,
  labels jsonb NOT NULL DEFAULT '{}',
  metadata jsonb NOT NULL DEFAULT '{}',
  error text,
  started_at timestamptz NOT NULL,
  ended_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT agent_runs_pkey PRIMARY KEY (id, bucket)
);
COMMENT ON COLUMN agent_runs.placeholder IS 'Made by an event that came before the start of its run';
CREATE INDEX agent_runs_created_at_idx ON agent_runs (created_at, id);
CREATE INDEX agent_runs_active_idx ON agent_runs (agent_id) WHERE status IN ('queued', 'running');
CREATE INDEX agent_runs_agent_id_created_at_idx ON agent_runs (agent_id, created_at, id);

CREATE TABLE execution_steps (
  bucket date NOT NULL,
  run_id uuid NOT NULL,
  id uuid NOT NULL,
  team_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  "timestamp" timestamptz NOT NULL,
  parent_step_id uuid,
  index bigint NOT NULL,
  kind text NOT NULL,
  name text NOT NULL,
  status text,
  error text,
  duration_ms bigint,
  metadata jsonb,
  content_hash bigint NOT NULL,
  arrived_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT execution_steps_pkey PRIMARY KEY (run_id, id, bucket)
);
COMMENT ON COLUMN execution_steps.content_hash IS 'Tells a repeat from other content under the same id';

CREATE TABLE llm_calls (
  bucket date NOT NULL,
  run_id uuid NOT NULL,
  id uuid NOT NULL,
  team_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  environment text NOT NULL,
  "timestamp" timestamptz NOT NULL,
  parent_step_id uuid,
  provider text,
  model text NOT NULL,
  status text NOT NULL,
  error text,
  duration_ms bigint,
  input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cache_read_tokens bigint NOT NULL,
  cache_write_tokens bigint NOT NULL,
  usage jsonb,
  price_status text NOT NULL
    CONSTRAINT llm_calls_price_status_check CHECK (price_status IN
      ('priced', 'partial', 'no_rates', 'unknown_model', 'unknown_provider', 'inconsistent_usage')),
  price_version_id uuid,
  cost_nano_usd bigint,
  metadata jsonb,
  content_hash bigint NOT NULL,
  arrived_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT llm_calls_pkey PRIMARY KEY (run_id, id, bucket)
);
COMMENT ON COLUMN llm_calls.usage IS 'Counts of the units that have no column of their own';
COMMENT ON COLUMN llm_calls.cost_nano_usd IS '1e-9 USD; NULL: unpriced';
CREATE INDEX llm_calls_timestamp_idx ON llm_calls USING brin ("timestamp");

CREATE TABLE tool_invocations (
  bucket date NOT NULL,
  run_id uuid NOT NULL,
  id uuid NOT NULL,
  team_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  "timestamp" timestamptz NOT NULL,
  parent_step_id uuid,
  tool text NOT NULL,
  status text NOT NULL,
  error text,
  duration_ms bigint,
  metadata jsonb,
  content_hash bigint NOT NULL,
  arrived_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT tool_invocations_pkey PRIMARY KEY (run_id, id, bucket)
);
-- downgrade
DROP TABLE tool_invocations;
DROP TABLE llm_calls;
DROP TABLE execution_steps;
DROP TABLE agent_runs;
DROP TABLE llm_pricing;
DROP FUNCTION llm_pricing_refuse_change();
DROP TABLE llm_models;
DROP TABLE llm_providers;
DROP TABLE llm_catalogue_imports;
DROP TABLE audit_logs;
DROP TABLE api_keys;
DROP TABLE agents;
DROP TABLE user_roles;
DROP TABLE roles;
DROP TABLE users;
DROP TABLE teams;
