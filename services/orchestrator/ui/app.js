// The plain page: a client of the public JSON API and of the same event stream as everyone's.
const list = document.querySelector("#tasks");
const cards = new Map();
const token = () => sessionStorage.getItem("token");

// `up` prints a link with #token=…; the fragment never reaches a server log.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}

async function api(path, options = {}) {
  const headers = { ...options.headers, ...(token() ? { Authorization: `Bearer ${token()}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new Error(body?.error?.message ?? `${response.status} ${response.statusText}`);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function age(at) {
  const seconds = Math.max(0, (Date.now() - new Date(at)) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

// What one event says in a line. Every text from outside is set as text, never as HTML.
const SAY = {
  "task.started": (data) => `${data.model.name} (${data.model.why})`,
  "container.ready": (data) => `${data.runtime}, isolation ${data.isolation}, ${data.ms} ms`,
  "workspace.ready": (data) => `commit ${data.base.commit.slice(0, 12)} (${data.base.from})`,
  "model.turn": (data) => data.text || data.calls.map((call) => `→ ${call.name}`).join(" "),
  "tool.intent": (data) => `${data.call.name} ${data.call.arguments}`,
  "tool.result": (data) => `${data.ok ? "✓" : "✗"} ${data.name} ${data.seconds} s\n${data.text.slice(0, 600)}`,
  "workspace.saved": (data) => `${data.files.length} changed files`,
  "task.finished": (data) => data.error?.message ?? data.answer ?? data.status,
};

function addEvent(card, event) {
  const line = element("li", event.kind === "tool.result" && !event.data.ok ? "bad" : "");
  line.append(element("b", "", `${event.kind}  `), SAY[event.kind]?.(event.data) ?? "");
  card.events.append(line);
}

async function* serverEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

async function follow(card) {
  if (card.following) return;
  card.following = true;
  try {
    const response = await api(`tasks/${card.id}/events?after=${card.seq}`, { headers: { Accept: "text/event-stream" } });
    if (response.status === 200) {
      for await (const event of serverEvents(response)) {
        if (!event.seq) continue;
        card.seq = event.seq;
        addEvent(card, event);
      }
    }
  } catch (problem) {
    console.warn(problem);
  } finally {
    card.following = false;
  }
}

function show(task) {
  let card = cards.get(task.task_id);
  if (!card) {
    const box = element("details", "task");
    const summary = element("summary");
    card = { id: task.task_id, seq: 0, box, status: element("span"), age: element("span", "age"), events: element("ol", "events") };
    summary.append(card.status, element("span", "query", task.query), element("span", "repo", task.repo_url ?? "scratch"), card.age);
    box.append(summary, card.events);
    box.addEventListener("toggle", () => box.open && follow(card));
    cards.set(task.task_id, card);
  }
  card.status.className = `status ${task.status}`;
  card.status.textContent = task.status;
  card.age.textContent = age(task.created_at);
  if (["queued", "running"].includes(task.status) && !card.seen) card.box.open = true;
  card.seen = true;
  if (card.box.open) follow(card);
  return card.box;
}

async function refresh() {
  try {
    const { tasks } = await (await api("tasks?limit=20")).json();
    document.querySelector("#empty").hidden = tasks.length > 0;
    tasks.forEach((task, index) => {
      const box = show(task);
      if (list.children[index] !== box) list.insertBefore(box, list.children[index] ?? null);
    });
    const { status, parts } = await (await api("health")).json();
    document.querySelector("#health").textContent = `${status} · ${parts.model.detail} · ${parts.runtime.detail}`;
  } catch (problem) {
    document.querySelector("#health").textContent = problem.message;
  }
}

document.querySelector("#ask").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const problem = document.querySelector("#problem");
  problem.textContent = "";
  const fields = new FormData(submitted.target);
  const body = { query: fields.get("query"), repo_url: fields.get("repo_url") || null, mode: "async" };
  try {
    await api("orchestrate", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    await refresh();
  } catch (refused) {
    problem.textContent = refused.message;
  }
});

// A hidden page asks for nothing.
setInterval(() => document.hidden || refresh(), 2000);
refresh();
