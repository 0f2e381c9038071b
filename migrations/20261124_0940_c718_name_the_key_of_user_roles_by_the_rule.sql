-- revision: 20261124_0940_c718
-- down: 20261124_0500_9c41
-- message: name the key of user_roles by the rule
-- compatible-from: 20261124_0500_9c41
-- transaction: yes
-- upgrade
ALTER TABLE user_roles RENAME CONSTRAINT user_roles_key TO user_roles_user_id_role_team_id_key;
-- downgrade
ALTER TABLE user_roles RENAME CONSTRAINT user_roles_user_id_role_team_id_key TO user_roles_key;
