"use strict";
// Shows /status.json, again and again. Text from it goes into the page as text only.

const $ = (id) => document.getElementById(id);

function node(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, then] of Object.entries(value)) made.addEventListener(event, then);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// ---- figures ----

function number(value) {
  if (value === 0) return "0";
  if (value < 9.95) return value.toFixed(1);
  if (value < 999.5) return value.toFixed(0);
  for (const [unit, size] of [["k", 1e3], ["M", 1e6], ["G", 1e9], ["T", 1e12]]) {
    const scaled = value / size;
    if (scaled < 999.5 || unit === "T") return (scaled < 9.995 ? scaled.toFixed(2) : scaled < 99.95 ? scaled.toFixed(1) : scaled.toFixed(0)) + unit;
  }
}
const count = (value) => (value < 10000 ? String(value) : number(value));
const bytes = (value) => number(value).replace(/[kMGT]?$/, (unit) => " " + unit + "B");
function share(ratio) {
  if (ratio === null) return "–";
  const percent = ratio * 100;
  if (percent === 0) return "0";
  return percent < 0.1 ? "<0.1 %" : (percent < 9.95 ? percent.toFixed(1) : percent.toFixed(0)) + "\u00a0%";
}
function seconds(time) {
  if (time === null) return "–";
  if (time < 0.0009995) return (time * 1e6).toFixed(0) + " µs";
  if (time < 0.9995) return (time * 1e3).toFixed(time < 0.00995 ? 1 : 0) + " ms";
  return time.toFixed(time < 9.95 ? 1 : 0) + " s";
}
function age(time) {
  let rest = Math.max(0, Math.floor(time));
  const parts = [];
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
    if (rest >= length || parts.length || length === 1) parts.push(Math.floor(rest / length) + unit);
    rest %= length;
  }
  return parts.slice(0, 2).join(" ");
}

// ---- tables ----

// A column: its title, what it is sorted by, what is shown, and how: "zero" is nothing to see.
const word = (title, of, tone) => ({ title, of, show: String, tone: tone || (() => ""), isWord: true });
const figure = (title, of, show, tone) => ({
  title, of, show: show || number, tone: tone || ((value) => (value === 0 || value === null ? "zero" : "")),
});
const nothing = (value) => (value > 0 ? "warn" : "zero");
const badShare = (value) => (value >= 0.1 ? "bad" : value >= 0.01 ? "warn" : value > 0 ? "" : "zero");
const rate = (name) => (row) => row[name].per_second;
function reason(row) {
  const most = Object.entries(row.failures).sort((a, b) => b[1].per_second - a[1].per_second)[0];
  return most && most[1].per_second > 0 ? most[0] + " " + number(most[1].per_second) + "/s" : "";
}
// "ok" is green only where requests are: it takes them, and whether it answers is another matter.
const health = (value, row) => (value === "ok" ? (row.failure_ratio > 0 ? "" : "good") : value === "drained" ? "zero" : value === "down" || value === "ejected" ? "bad" : "warn");

const TABLES = {
  Routes: {
    rows: "routes", kind: "route", name: (row) => row.name,
    columns: [
      word("Route", (row) => row.name),
      figure("Requests/s", rate("requests")),
      figure("5xx", (row) => row.error_ratio, share, badShare),
      figure("p50", (row) => row.duration.p50_seconds, seconds),
      figure("p99", (row) => row.duration.p99_seconds, seconds),
      figure("2xx/s", (row) => row.responses["2xx"].per_second),
      figure("3xx/s", (row) => row.responses["3xx"].per_second),
      figure("4xx/s", (row) => row.responses["4xx"].per_second),
      figure("5xx/s", (row) => row.responses["5xx"].per_second, number, nothing),
      figure("Requests", (row) => row.requests.total, count),
      word("Upstream", (row) => row.upstreams.join(", ") || "answers itself", (text) => (text === "answers itself" ? "zero" : "")),
      word("Reason", reason),
    ],
  },
  Upstreams: {
    rows: "upstreams", kind: "upstream", name: (row) => row.name,
    columns: [
      word("Upstream", (row) => row.name),
      figure("Up", (row) => row.endpoints_usable, (up, row) => up + "/" + row.endpoints,
        (up, row) => (up === 0 ? "bad" : up < row.endpoints || row.failure_ratio > 0 ? "" : "good")),
      figure("Requests/s", rate("requests")),
      figure("Active", (row) => row.requests_active, count),
      figure("Failed", (row) => row.failure_ratio, share, badShare),
      figure("Retries/s", rate("retries"), number, nothing),
      figure("No endpoint/s", rate("no_endpoint"), number, nothing),
      figure("p50", (row) => row.duration.p50_seconds, seconds),
      figure("p99", (row) => row.duration.p99_seconds, seconds),
      figure("Connect p99", (row) => row.connect.p99_seconds, seconds),
      figure("Reuse", (row) => row.reuse_ratio, share),
      figure("Idle", (row) => row.connections_idle, count),
      figure("Requests", (row) => row.requests.total, count),
      word("Policy", (row) => row.policy),
    ],
  },
  Endpoints: {
    rows: "endpoints", kind: "endpoint", name: (row) => row.upstream + " " + row.endpoint,
    columns: [
      word("Endpoint", (row) => row.endpoint),
      word("Upstream", (row) => row.upstream),
      word("Health", (row) => row.health, health),
      figure("Weight", (row) => row.weight, count),
      figure("Requests/s", rate("requests")),
      figure("Active", (row) => row.requests_active, count),
      figure("Failed", (row) => row.failure_ratio, share, badShare),
      figure("Opened/s", rate("connects")),
      figure("Reuse", (row) => row.reuse_ratio, share),
      figure("Idle", (row) => row.connections_idle, count),
      figure("In", rate("received_bytes"), (value) => bytes(value) + "/s"),
      figure("Out", rate("sent_bytes"), (value) => bytes(value) + "/s"),
      word("Reason", reason),
    ],
  },
  Listeners: {
    rows: "listeners", kind: "listener", name: (row) => row.name,
    columns: [
      word("Listener", (row) => row.name),
      word("Address", (row) => row.address),
      figure("Connections", (row) => row.connections, count),
      figure("Active", (row) => row.connections_active, count),
      figure("New/s", rate("accepted")),
      figure("Requests/s", rate("requests")),
      figure("Bad/s", rate("bad_requests")),
      figure("Clients gone/s", rate("client_aborts")),
      figure("Waits/s", rate("waited"), number, nothing),
      figure("In", rate("received_bytes"), (value) => bytes(value) + "/s"),
      figure("Out", rate("sent_bytes"), (value) => bytes(value) + "/s"),
      figure("Tunnels", (row) => row.tunnels, count),
      word("Reason", reason),
    ],
  },
  Workers: {
    rows: "workers", kind: "worker", name: (row) => row.name,
    columns: [
      word("Worker", (row) => row.name),
      figure("CPU", (row) => row.cpu_ratio, share),
      figure("Requests/s", rate("requests")),
      figure("Connections", (row) => row.connections, count),
      figure("Active", (row) => row.connections_active, count),
      figure("In", rate("received_bytes"), (value) => bytes(value) + "/s"),
      figure("Out", rate("sent_bytes"), (value) => bytes(value) + "/s"),
      figure("Log drops/s", rate("log_dropped"), number, nothing),
      figure("Accept pauses/s", rate("accept_pauses"), number, nothing),
      figure("Requests", (row) => row.requests.total, count),
    ],
  },
};
// More would make a browser slow, and nobody reads them.
const ROWS_MAX = 250;

const view = { tab: "Routes", sorts: {}, open: new Set(), state: null, history: [], last: null, paused: false, trouble: null };

// The worst problem of each row.
function marks(kind) {
  const found = new Map();
  for (const problem of view.state.problems) {
    if (problem.kind === kind && found.get(problem.name) !== "critical") found.set(problem.name, problem.severity);
  }
  return found;
}

const natural = new Intl.Collator(undefined, { numeric: true }).compare;

function ordered(rows, table, found) {
  const sort = view.sorts[view.tab];
  if (!sort) {
    const rank = { critical: 0, warning: 1 };
    const busy = table.columns.find((column) => column.title === "Requests/s");
    const key = (row) => rank[found.get(table.name(row))] ?? 2;
    return rows.sort((a, b) => key(a) - key(b) || busy.of(b) - busy.of(a));
  }
  const column = table.columns[sort.index];
  const by = column.isWord ? (a, b) => natural(column.of(a), column.of(b)) : (a, b) => (column.of(b) ?? -1) - (column.of(a) ?? -1);
  return rows.sort(sort.reversed ? (a, b) => by(b, a) : by);
}

function drawTable() {
  const table = TABLES[view.tab];
  const found = marks(table.kind);
  const wanted = $("search").value.toLowerCase();
  const only = $("only").checked;
  const words = table.columns.filter((column) => column.isWord);
  const rows = view.state[table.rows].filter((row) =>
    (!only || found.has(table.name(row))) && (!wanted || words.some((column) => column.of(row).toLowerCase().includes(wanted))));
  ordered(rows, table, found);

  const sort = view.sorts[view.tab];
  const heads = table.columns.map((column, index) => {
    const isSorted = sort && sort.index === index;
    const order = isSorted ? ((column.isWord ? !sort.reversed : sort.reversed) ? "ascending" : "descending") : null;
    return node("th", { scope: "col", class: column.isWord ? "word" : null, "aria-sort": order },
      node("button", { type: "button", "data-sort": index }, column.title));
  });
  const focused = document.activeElement?.dataset?.sort;
  document.querySelector("thead").replaceChildren(node("tr", {}, ...heads));
  if (focused !== undefined) document.querySelector(`[data-sort="${focused}"]`)?.focus();

  const body = [];
  for (const row of rows.slice(0, ROWS_MAX)) {
    const name = table.name(row);
    const cells = table.columns.map((column) => {
      const value = column.of(row);
      const text = column.show(value, row);
      return node("td", { class: [column.isWord ? "word" : "", column.tone(value, row)].join(" ").trim(), title: column.isWord ? text : null }, text);
    });
    body.push(node("tr", { class: found.get(name), "data-row": name, tabindex: 0 }, ...cells));
    if (view.open.has(view.tab + name)) {
      body.push(node("tr", { class: "detail" }, node("td", { colspan: table.columns.length }, details(row))));
    }
  }
  const rowFocused = document.activeElement?.dataset?.row;
  document.querySelector("tbody").replaceChildren(...body);
  if (rowFocused !== undefined) document.querySelector(`tr[data-row="${CSS.escape(rowFocused)}"]`)?.focus();
  const left = rows.length - ROWS_MAX;
  $("empty").hidden = rows.length > 0 && left <= 0;
  $("empty").textContent = left > 0 ? `and ${left} more: search, or sort them` : "no rows to show";
}

// Everything that is known of a row, under its names in the JSON.
function details(row) {
  const list = node("dl");
  const add = (name, text) => list.append(node("div", {}, node("dt", {}, name), node("dd", {}, text)));
  const walk = (before, key, value) => {
    const name = before + (before === "failures " || before === "suspicious " ? key : key.replace(/_seconds$/, "").replaceAll("_", " "));
    if (value === null) add(name, "–");
    else if (Array.isArray(value)) add(name, value.join(", ") || "–");
    else if (typeof value !== "object") add(name, key.endsWith("_ratio") ? share(value) : key.endsWith("_seconds") ? seconds(value) : String(value));
    else if ("per_second" in value) add(name, `${number(value.per_second)}/s · ${count(value.total)}`);
    else for (const [inner, it] of Object.entries(value)) walk(name + " ", inner, it);
  };
  for (const [key, value] of Object.entries(row)) walk("", key, value);
  return list;
}

// ---- the rest ----

function drawTabs() {
  const tabs = Object.entries(TABLES).map(([title, table]) => {
    const about = view.state.problems.filter((problem) => problem.kind === table.kind);
    const worst = about.some((problem) => problem.severity === "critical") ? "critical" : "warning";
    const badge = about.length ? node("span", { class: "count " + worst, title: "problems" }, "! " + about.length) : "";
    return node("button", { type: "button", role: "tab", "aria-selected": String(title === view.tab), "data-tab": title },
      title, node("span", { class: "count" }, String(view.state[table.rows].length)), badge);
  });
  const focused = document.activeElement?.dataset?.tab;
  $("tabs").replaceChildren(...tabs);
  if (focused) document.querySelector(`[data-tab="${focused}"]`)?.focus();
}

function drawProblems() {
  const { problems, problems_left_out } = view.state || { problems: [], problems_left_out: 0 };
  const lines = problems.map((problem) => {
    const about = problem.kind === "process" ? "" : node("a", { href: "#", "data-kind": problem.kind, "data-name": problem.name }, `${problem.kind} ${problem.name}`);
    return node("li", { class: problem.severity }, node("span", { class: "mark" }, problem.severity), node("span", {}, about, about ? ": " : "", problem.text.replaceAll(" %", "\u00a0%")));
  });
  if (!lines.length && !view.trouble) lines.push(node("li", { class: "none" }, "Nothing is wrong."));
  if (problems_left_out) lines.push(node("li", { class: "more" }, `and ${problems_left_out} more`));
  if (view.trouble) lines.unshift(node("li", { class: "critical trouble" }, node("span", { class: "mark" }, "critical"), node("span", {}, view.trouble)));
  // Anew only if something has changed: a screen reader says it then.
  const text = JSON.stringify([view.trouble, problems, problems_left_out]);
  if ($("problems").dataset.text !== text) $("problems").replaceChildren(...lines);
  $("problems").dataset.text = text;
}

function chart(values, kind) {
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 119 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", kind);
  svg.setAttribute("aria-hidden", "true");
  const most = Math.max(...values, Number.MIN_VALUE);
  const points = values.map((value, index) => `${120 - values.length + index},${(29 - (value / most) * 28).toFixed(2)}`);
  const path = (shape, name) => {
    const made = document.createElementNS(SVG, "path");
    made.setAttribute("d", shape);
    made.setAttribute("class", name);
    svg.append(made);
  };
  if (values.length > 1) {
    path(`M${120 - values.length},30L${points.join("L")}L119,30Z`, "area");
    path("M" + points.join("L"), "stroke");
  }
  return svg;
}

function drawTiles() {
  const totals = view.state.totals;
  const of = (name) => view.history.map((moment) => moment[name]);
  const peak = (name) => (view.history.length ? "most " + number(Math.max(...of(name))) + "/s" : "");
  const classes = Object.values(totals.responses).map((it) => it.per_second);
  const all = classes.reduce((sum, it) => sum + it, 0);
  const tile = (name, value, more, ...rest) =>
    node("div", { class: "tile card" }, node("div", { class: "name" }, name), node("div", { class: "value" }, ...value), node("div", { class: "more" }, more), ...rest);
  const small = (text) => node("small", {}, " " + text);
  $("tiles").replaceChildren(
    tile("Requests", [number(totals.requests.per_second), small("/s")], peak("requests"), chart(of("requests"), "")),
    tile("5xx", [share(totals.error_ratio)], `${number(totals.responses["5xx"].per_second)}/s · 4xx ${all > 0 ? share(totals.responses["4xx"].per_second / all) : "–"}`, chart(of("errors"), "errors")),
    tile("p99", [seconds(totals.duration.p99_seconds)], "p50 " + seconds(totals.duration.p50_seconds), chart(of("p99"), "")),
    tile("Connections", [count(totals.connections)], count(totals.connections_active) + " active", chart(of("connections"), "")),
    tile("To clients", [bytes(totals.sent_bytes.per_second), small("/s")], "from clients " + bytes(totals.received_bytes.per_second) + "/s", chart(of("sent"), "")),
  );
}

function drawHead() {
  const state = view.state;
  const host = state.host || location.host;
  $("host").textContent = `${state.version} on ${host}`;
  $("phase").textContent = state.phase;
  $("phase").className = "pill " + state.phase;
  const facts = [`up ${age(state.time - state.started)}`, `generation ${state.generation}`, `${state.workers_running} workers`, bytes(state.resident_bytes)];
  if (state.snapshots_alive > 1) facts.push(`${state.snapshots_alive} configurations in use`);
  $("facts").textContent = facts.join(" · ");
  $("interval").textContent = state.interval_seconds.toFixed(0);
  const wrong = state.problems.length + state.problems_left_out;
  document.title = (wrong ? `(${wrong}) ` : "") + `Corelane on ${host}`;
}

function draw() {
  if (!view.state) return;
  drawHead();
  drawTiles();
  drawProblems();
  drawTabs();
  drawTable();
}

function remember(state) {
  const now = { time: state.time, requests: state.totals.requests.total, errors: state.totals.responses["5xx"].total, sent: state.totals.sent_bytes.total };
  const before = view.last;
  view.last = now;
  if (!before || now.time <= before.time) return;
  const rate = (name) => Math.max(0, now[name] - before[name]) / (now.time - before.time);
  view.history.push({
    requests: rate("requests"), errors: rate("errors"), sent: rate("sent"),
    p99: state.totals.duration.p99_seconds ?? 0, connections: state.totals.connections,
  });
  view.history.splice(0, view.history.length - 120);
}

let heard = Date.now();
async function ask() {
  const start = performance.now();
  if (!document.hidden) {
    try {
      const response = await fetch("/status.json", { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!response.ok) throw new Error("status " + response.status);
      const state = await response.json();
      heard = Date.now();
      document.body.classList.remove("lost");
      view.trouble = null;
      remember(state);
      if (!view.paused) {
        view.state = state;
        $("live").textContent = new Date(state.time * 1000).toISOString().slice(11, 19) + " UTC";
        draw();
      }
    } catch (error) {
      document.body.classList.add("lost");
      $("live").textContent = "no answer";
      view.trouble = `Old figures, no answer for ${age((Date.now() - heard) / 1000)}: ${error.message}`;
      drawProblems();
    }
  }
  // Of a large state no more than a quarter of the time goes into showing it.
  setTimeout(ask, Math.max(1000, 3 * (performance.now() - start)));
}

function go(tab) {
  view.tab = tab;
  history.replaceState(null, "", "#" + tab.toLowerCase());
  draw();
}

$("tabs").addEventListener("click", (event) => {
  const tab = event.target.closest("[data-tab]");
  if (tab) go(tab.dataset.tab);
});
document.querySelector("thead").addEventListener("click", (event) => {
  const head = event.target.closest("[data-sort]");
  if (!head) return;
  const index = Number(head.dataset.sort);
  const sort = view.sorts[view.tab];
  // Once, the other way round, and back to the worst first.
  if (!sort || sort.index !== index) view.sorts[view.tab] = { index, reversed: false };
  else if (!sort.reversed) sort.reversed = true;
  else delete view.sorts[view.tab];
  draw();
});
function toggle(event) {
  const row = event.target.closest("[data-row]");
  if (!row) return;
  const key = view.tab + row.dataset.row;
  if (!view.open.delete(key)) view.open.add(key);
  draw();
}
document.querySelector("tbody").addEventListener("click", toggle);
document.querySelector("tbody").addEventListener("keydown", (event) => {
  if (event.key === "Enter") toggle(event);
});
$("problems").addEventListener("click", (event) => {
  const link = event.target.closest("[data-kind]");
  if (!link) return;
  event.preventDefault();
  const [tab, table] = Object.entries(TABLES).find(([, it]) => it.kind === link.dataset.kind);
  $("search").value = "";
  view.open.add(tab + link.dataset.name);
  go(tab);
  document.querySelector(`tr[data-row="${CSS.escape(link.dataset.name)}"]`)?.scrollIntoView({ block: "center" });
});
$("search").addEventListener("input", draw);
$("only").addEventListener("change", draw);
$("pause").addEventListener("click", () => {
  view.paused = !view.paused;
  document.body.classList.toggle("paused", view.paused);
  $("pause").textContent = view.paused ? "Go on" : "Pause";
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== $("search")) {
    event.preventDefault();
    $("search").focus();
  } else if (event.key === "Escape" && document.activeElement === $("search")) {
    $("search").value = "";
    draw();
  }
});
const asked = Object.keys(TABLES).find((tab) => "#" + tab.toLowerCase() === location.hash);
if (asked) view.tab = asked;
ask();
