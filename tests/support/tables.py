"""What is in the tables of an installation, for tests that nothing may change."""


def row_counts(installation):
    """The number of rows by table, but for those that background work fills and empties by itself, and refusals, which are recorded later."""
    tables = installation.sql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN "
                              "('outbox', 'tasks', 'task_schedules', 'usage_commits', 'usage_aggregations', 'alert_deliveries') ORDER BY 1")
    return dict(installation.sql(" UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" + (" WHERE action <> 'access_refuse'" if name == "audit_logs" else "") for (name,) in tables)))
