-- A workspace belongs to one repository. `run_no` is the fencing token of runs: every claim of any of its tasks raises
-- it, so an agent can refuse an older run by comparing numbers. `epoch` is the fencing token of its container.
create table workspaces (
    id            text primary key check (id ~ '^ws-[0-9a-f]{20}$'),
    canonical     text,                        -- null: a scratch workspace
    fetch_url     text,
    delivered     text,                        -- commit of the newest changes that are known to have reached the user
    delivered_run bigint not null default 0,   -- and the run that made it
    kind          text not null check (kind in ('remote', 'local', 'scratch')),
    run_no        bigint not null default 0,
    state         text not null default 'created'
                  check (state in ('created', 'starting', 'running', 'paused', 'stopping', 'stopped', 'failed',
                                   'deleted')),
    epoch         bigint not null default 0,
    runtime       text not null default '',
    isolation     text not null default '',
    started_at    timestamptz,
    last_used_at  timestamptz,
    created_at    timestamptz not null default now(),
    check ((kind = 'scratch') = (canonical is null))
);

create table tasks (
    id            uuid primary key default gen_random_uuid(),
    workspace_id  text not null references workspaces,
    request       jsonb not null,
    status        text not null default 'queued'
                  check (status in ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
    run_no        bigint not null default 0,
    losses        int not null default 0,      -- runs whose process vanished
    max_losses    int not null default 3,
    lease_until   timestamptz,
    cancel_at     timestamptz,
    last_seq      bigint not null default 0,
    created_at    timestamptz not null default now(),
    finished_at   timestamptz,
    check ((status = 'running') = (lease_until is not null)),
    check ((status in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null))
);

-- One run acts in a workspace at a time; this index is the lock.
create unique index tasks_one_running_per_workspace on tasks (workspace_id) where status = 'running';
create index tasks_open on tasks (created_at, id) where status in ('queued', 'running');
create index tasks_newest on tasks (created_at desc, id desc);
create index tasks_of_workspace on tasks (workspace_id, created_at);

-- `attachment` holds bytes that belong to the event but not into a stream of events, such as a patch.
create table events (
    task_id     uuid not null references tasks on delete cascade,
    seq         bigint not null check (seq > 0),
    at          timestamptz not null default now(),
    kind        text not null,
    run_no      bigint not null,
    step        int not null,
    data        jsonb not null,
    attachment  bytea,
    primary key (task_id, seq)
);
