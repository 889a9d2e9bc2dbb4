-- name: create
-- The queued event is written in the same statement, so that no accepted task is without its log.
with task as (
    insert into tasks (workspace_id, request, last_seq)
    values (%(workspace_id)s, %(request)s, 1)
    returning *
), queued as (
    insert into events (task_id, seq, kind, run_no, step, data)
    select id, 1, 'task.queued', 0, 0, %(data)s from task
), note as (
    select pg_notify('moorage', 'new:' || id) from task
)
select task.id::text as id, workspace_id, request, status, run_no, created_at, finished_at from task, note;

-- name: claim
-- The oldest open task whose workspace is free, or whose run stopped renewing. Within a workspace in order.
with candidate as (
    select t.id, t.workspace_id
    from tasks t
    where (t.status = 'queued' or (t.status = 'running' and t.lease_until < now() and t.losses < t.max_losses))
      and t.cancel_at is null
      and (%(task_id)s::uuid is null or t.id = %(task_id)s::uuid)
      and not exists (
          select 1 from tasks o
          where o.workspace_id = t.workspace_id and o.id <> t.id
            and (o.status = 'running' or (o.status = 'queued' and (o.created_at, o.id) < (t.created_at, t.id)
                                          and t.status = 'queued'))
      )
    order by t.created_at, t.id
    limit 1
    for update of t skip locked
), fence as (
    update workspaces w
    set run_no = w.run_no + 1, last_used_at = now()
    from candidate
    where w.id = candidate.workspace_id
    returning w.id, w.run_no, w.canonical, w.fetch_url, w.kind, w.delivered
)
update tasks
set status = 'running', run_no = fence.run_no, lease_until = now() + %(lease)s,
    losses = losses + (tasks.status = 'running')::int
from candidate join fence on fence.id = candidate.workspace_id
where tasks.id = candidate.id
returning tasks.id::text as task_id, tasks.workspace_id, tasks.run_no, tasks.request, tasks.created_at,
          fence.canonical, fence.fetch_url, fence.kind, fence.delivered;

-- name: renew
update tasks
set lease_until = now() + %(lease)s
where id = %(task_id)s and run_no = %(run_no)s and status = 'running'
returning cancel_at is not null as cancelled;

-- name: append
-- The row lock of the update makes sequence order commit order; the run number makes a lost run write nothing.
with task as (
    update tasks
    set last_seq = last_seq + 1
    where id = %(task_id)s and run_no = %(run_no)s and status = 'running'
    returning id, last_seq
), event as (
    insert into events (task_id, seq, kind, run_no, step, data, attachment)
    select id, last_seq, %(kind)s, %(run_no)s, %(step)s, %(data)s, %(attachment)s from task
    returning seq, at
), note as (
    select pg_notify('moorage', 'event:' || id) from task
)
select event.seq, event.at from event, note;

-- name: finish
with task as (
    update tasks
    set status = %(status)s, lease_until = null, finished_at = now(), last_seq = last_seq + 1
    where id = %(task_id)s and run_no = %(run_no)s and status = 'running'
    returning id, workspace_id, last_seq
), event as (
    insert into events (task_id, seq, kind, run_no, step, data)
    select id, last_seq, 'task.finished', %(run_no)s, %(step)s, %(data)s from task
    returning seq, at
), used as (
    update workspaces set last_used_at = now() from task where workspaces.id = task.workspace_id
), note as (
    select pg_notify('moorage', 'event:' || id), pg_notify('moorage', 'new:' || id) from task
)
select event.seq, event.at from event, note;

-- name: release
-- Hand the task back unfinished, at shutdown; that is no loss.
with task as (
    update tasks
    set status = 'queued', lease_until = null
    where id = %(task_id)s and run_no = %(run_no)s and status = 'running'
    returning id
)
select pg_notify('moorage', 'new:' || id) from task;

-- name: cancel
-- A queued task ends here and now, with its event; a running one is told.
with found as (
    select id, status, last_seq from tasks
    where id = %(task_id)s and status in ('queued', 'running', 'waiting')
    for update
), ended as (
    insert into events (task_id, seq, kind, run_no, step, data)
    select id, last_seq + 1, 'task.finished', 0, 0, %(data)s from found where status <> 'running'
), task as (
    update tasks
    set cancel_at = coalesce(tasks.cancel_at, now()),
        status = case found.status when 'running' then 'running' else 'cancelled' end,
        last_seq = tasks.last_seq + (found.status <> 'running')::int,
        finished_at = case found.status when 'running' then null else now() end
    from found where tasks.id = found.id
    returning tasks.id, tasks.status
), note as (
    select pg_notify('moorage', 'cancel:' || id), pg_notify('moorage', 'event:' || id), pg_notify('moorage', 'new:' || id)
    from task
)
select task.status from task, note;

-- name: lost
-- Tasks no run may claim any more: their last permitted run vanished, or vanished after a cancel.
select id::text as task_id, workspace_id, run_no, cancel_at is not null as cancelled
from tasks
where status = 'running' and lease_until < now() and (losses >= max_losses or cancel_at is not null);

-- name: delivered
-- Only what there was to take, and never back from newer changes to older ones.
with saved as (
    select t.workspace_id, e.run_no, e.data ->> 'commit' as commit
    from tasks t join events e on e.task_id = t.id
    where t.id = %(task_id)s and t.finished_at is not null
      and e.kind = 'workspace.saved' and e.attachment is not null and e.data ->> 'commit' is not null
    order by e.seq desc
    limit 1
), marked as (
    update workspaces w
    set delivered = saved.commit, delivered_run = saved.run_no
    from saved
    where w.id = saved.workspace_id and saved.run_no >= w.delivered_run
)
select commit from saved;

-- name: next_expiry
select extract(epoch from min(lease_until) - now())::float as seconds from tasks where status = 'running';

-- name: get
select id::text as id, workspace_id, request, status, run_no, created_at, finished_at
from tasks
where id = %(task_id)s;

-- name: page
select t.id::text as id, t.workspace_id, t.request, t.status, t.run_no, t.created_at, t.finished_at
from tasks t
where (%(status)s::text is null or t.status = %(status)s)
  and (%(workspace_id)s::text is null or t.workspace_id = %(workspace_id)s)
  and (%(before_at)s::timestamptz is null or (t.created_at, t.id) < (%(before_at)s, %(before_id)s::uuid))
order by t.created_at desc, t.id desc
limit %(limit)s;

-- name: events
select seq, at, kind, run_no, step, data
from events
where task_id = %(task_id)s and seq > %(after)s
order by seq
limit %(limit)s;

-- name: attachment
select attachment
from events
where task_id = %(task_id)s and kind = %(kind)s and attachment is not null
order by seq desc
limit 1;

-- name: queue
select count(*) filter (where status = 'queued') as queued, count(*) filter (where status = 'running') as running
from tasks
where status in ('queued', 'running');

-- name: final
select data from events where task_id = %(task_id)s and kind = 'task.finished';
