-- revision: 20261129_0815_5f1b
-- down: 20261129_0600_c2d5
-- message: one role in a team
-- transaction: yes
-- upgrade
-- Whoever has several in one place keeps the one that may most.
DELETE FROM user_roles less USING user_roles more
WHERE less.user_id = more.user_id AND less.team_id IS NOT DISTINCT FROM more.team_id
  AND array_position(ARRAY['admin', 'team_lead', 'developer', 'viewer'], less.role) > array_position(ARRAY['admin', 'team_lead', 'developer', 'viewer'], more.role);
ALTER TABLE user_roles DROP CONSTRAINT user_roles_user_id_role_team_id_key;
ALTER TABLE user_roles ADD CONSTRAINT user_roles_user_id_team_id_key UNIQUE NULLS NOT DISTINCT (user_id, team_id);
ALTER TABLE user_roles ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN user_roles.created_at IS 'Whoever says nothing acts in the team that came first';
-- downgrade
ALTER TABLE user_roles DROP COLUMN created_at;
ALTER TABLE user_roles DROP CONSTRAINT user_roles_user_id_team_id_key;
ALTER TABLE user_roles ADD CONSTRAINT user_roles_user_id_role_team_id_key UNIQUE NULLS NOT DISTINCT (user_id, role, team_id);
