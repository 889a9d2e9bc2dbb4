"""Postgres: workspaces, tasks and their event log. Plain SQL in `sql/`, forward-only migrations in `migrations/`."""
