-- revision: 20261128_1218_4f5d
-- down: 20261128_1218_0054
-- message: budgets (without locks)
-- transaction: no
-- upgrade
ALTER TABLE agent_runs VALIDATE CONSTRAINT agent_runs_terminated_by_check;
-- downgrade
