-- name: upsert
-- The repository of a workspace is fixed by its id; how it is fetched may change (ssh today, https tomorrow).
insert into workspaces (id, canonical, fetch_url, kind)
values (%(id)s, %(canonical)s, %(fetch_url)s, %(kind)s)
on conflict (id) do update
set fetch_url = excluded.fetch_url,
    state = case workspaces.state when 'deleted' then 'created' else workspaces.state end
returning id;

-- name: get
select w.id, w.canonical, w.kind, w.run_no, w.state, w.epoch, w.runtime, w.isolation, w.started_at, w.last_used_at,
       (select count(*) from tasks t where t.workspace_id = w.id and t.status = 'queued') as queued,
       exists (select 1 from tasks t where t.workspace_id = w.id and t.status = 'running') as busy
from workspaces w
where w.id = %(id)s;

-- name: with_containers
select w.id, w.canonical, w.kind, w.run_no, w.state, w.epoch, w.runtime, w.isolation, w.started_at, w.last_used_at,
       (select count(*) from tasks t where t.workspace_id = w.id and t.status = 'queued') as queued,
       exists (select 1 from tasks t where t.workspace_id = w.id and t.status = 'running') as busy
from workspaces w
where w.state not in ('created', 'deleted')
order by w.last_used_at desc nulls last, w.id
limit %(limit)s;

-- name: starting
-- Compare-and-set: a start is a new epoch, so that what an older start reports later changes nothing.
update workspaces
set state = 'starting', epoch = epoch + 1, runtime = %(runtime)s, isolation = %(isolation)s
where id = %(id)s and state in ('created', 'stopped', 'failed', 'starting', 'running', 'stopping')
returning epoch;

-- name: running
update workspaces
set state = 'running', started_at = now(), last_used_at = now()
where id = %(id)s and epoch = %(epoch)s and state = 'starting'
returning epoch;

-- name: ended
update workspaces
set state = %(state)s
where id = %(id)s and epoch = %(epoch)s and state in ('starting', 'running', 'paused', 'stopping')
returning epoch;

-- name: stopping
-- Refused while a run owns the workspace, in the same statement, so that no run can slip in between.
update workspaces w
set state = 'stopping'
where w.id = %(id)s and w.epoch = %(epoch)s and w.state in ('starting', 'running', 'paused')
  and not exists (select 1 from tasks t where t.workspace_id = w.id and t.status = 'running')
returning epoch;

-- name: delete
update workspaces w
set state = 'deleted'
where w.id = %(id)s
  and not exists (select 1 from tasks t where t.workspace_id = w.id and t.status in ('queued', 'running', 'waiting'))
returning epoch;

-- name: touch
update workspaces set last_used_at = now() where id = %(id)s returning epoch;

-- name: idle
select w.id, w.epoch
from workspaces w
where w.state = 'running' and w.last_used_at < now() - %(idle)s
  and not exists (select 1 from tasks t where t.workspace_id = w.id and t.status in ('queued', 'running'));
