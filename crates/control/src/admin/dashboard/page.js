// The page: asks for sums every two seconds, and draws what follows from them.

const series = new Map();
/** How many times was asked: an answer that was overtaken is not drawn. */
let asks = 0;
const open = { pool: null, offset: 0, found: 0, answer: null };
const PAGE = 48;

function seriesOf(kind, name) {
  const key = `${kind} ${name}`;
  if (!series.has(key)) series.set(key, new Series());
  return series.get(key);
}

async function call(path, options = {}) {
  const token = sessionStorage.getItem("plimsoll-token");
  const headers = { ...(options.headers ?? {}) };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  if (answer.status === 401) {
    askForToken();
    throw new Error("this node wants its token");
  }
  return answer;
}

async function json(path, options) {
  const answer = await call(path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? `${answer.status}`);
  return body;
}

function askForToken() {
  const dialog = byId("token-dialog");
  if (!dialog.open) dialog.showModal();
}

function trouble(words) {
  const line = byId("trouble");
  line.hidden = !words;
  line.textContent = words ?? "";
}

async function look() {
  const asked = new URLSearchParams();
  if (open.pool !== null) {
    asked.set("pool", open.pool);
    asked.set("filter", byId("filter").value.trim());
    asked.set("sort", byId("sort").value);
    asked.set("offset", open.offset);
    asked.set("limit", PAGE);
  }
  asks += 1;
  const ask = asks;
  try {
    const stats = await json(`/api/v1/stats${asked.size ? `?${asked}` : ""}`);
    if (ask !== asks) return;
    take(stats);
    trouble(null);
  } catch (error) {
    if (open.pool !== null && /there is no pool/.test(error.message)) open.pool = null;
    trouble(`Nothing new is known: ${error.message}`);
  }
}

function take(stats) {
  bucketBounds = stats.buckets_ms;
  const now = stats.now_ms;
  for (const [kind, list] of [["listener", stats.listeners], ["route", stats.routes], ["pool", stats.pools]]) {
    for (const one of list) seriesOf(kind, one.name).push(now, one);
  }
  for (const [reason, requests] of Object.entries(stats.failures)) seriesOf("failure", reason).push(now, { requests, errors: 0 });
  for (const one of stats.backends?.page ?? []) seriesOf(`backend ${stats.backends.pool}`, one.name).push(now, one);
  const all = { requests: 0, errors: 0, connections: stats.status.connections, buckets: new Array(bucketBounds.length + 1).fill(0) };
  for (const route of stats.routes) {
    all.requests += route.requests;
    all.errors += route.errors;
    route.buckets.forEach((count, at) => { all.buckets[at] += count; });
  }
  seriesOf("node", "").push(now, all);
  node(stats);
  tiles();
  pools(stats.pools);
  if (stats.backends) backends(stats);
  rows("route", "route-rows", stats.routes, (one, seen) => [["n", millis(seen.quantile(0.5))], ["n", millis(seen.quantile(0.9))], ["n", millis(seen.quantile(0.99))]]);
  rows("listener", "listener-rows", stats.listeners, (one, seen) => [["n", number(one.connections)], ["n", `${number(seen.rate("bytes_in"))}B/s`], ["n", `${number(seen.rate("bytes_out"))}B/s`]]);
  failures(stats.failures);
  certificates(stats.status.certificates);
}

function node({ status, may_write: writes }) {
  const stands = status.draining ? ["draining", "warn"] : status.ready ? ["ready", "good"] : ["waiting for first checks", "warn"];
  byId("stands").textContent = stands[0];
  byId("stands").className = `badge ${stands[1]}`;
  const words = [`${status.version}`, `generation ${status.generation}`, `up ${span(status.uptime_s)}`, `${status.workers} workers`];
  if (!writes) words.push("read only");
  if (status.last_reload.result === "error") words.push("the last reload was refused");
  byId("node").textContent = words.join(" · ");
  document.body.dataset.writes = writes ? "yes" : "no";
}

function tiles() {
  const seen = seriesOf("node", "");
  const gauge = seen.seen.slice(-HISTORY).map((one) => one.sums.connections);
  const failing = seen.errors();
  const of = (title, value, picture, kind) => element("div", { class: "tile" }, element("span", { class: "quiet" }, title), element("b", { class: kind }, value), picture);
  const p = [["p50", 0.5], ["p90", 0.9], ["p99", 0.99]].map(([name, share]) => element("span", {}, millis(seen.quantile(share)), element("small", {}, name)));
  byId("tiles").replaceChildren(
    of("Requests a second", number(seen.rate("requests")), spark([{ values: seen.rates("requests"), kind: "line" }], "requests a second, the last minutes")),
    of("Errors (5xx)", percent(failing), spark([{ values: seen.rates("errors"), kind: "bad" }], "errors a second, the last minutes"), failing > 0.01 ? "bad" : failing > 0 ? "warn" : null),
    element("div", { class: "tile" }, element("span", { class: "quiet" }, "Latency"), element("b", { class: "three" }, ...p), spark([{ values: seen.quantiles(0.99), kind: "bad" }, { values: seen.quantiles(0.9), kind: "mid" }, { values: seen.quantiles(0.5), kind: "line" }], "latencies, the last minutes")),
    of("Open connections", number(gauge[gauge.length - 1]), spark([{ values: gauge, kind: "line" }], "open connections, the last minutes")),
  );
}

const STATE_KIND = { healthy: "good", unknown: "warn", draining: "warn", maintenance: "warn", ejected: "bad", unhealthy: "bad" };

function pools(list) {
  if (open.pool === null && list.length > 0 && open.answer === null) {
    const linked = /^#pool=(.+)$/.exec(location.hash);
    const busiest = [...list].sort((a, b) => b.requests - a.requests)[0].name;
    choose(list.find((pool) => linked && pool.name === decodeURIComponent(linked[1]))?.name ?? busiest);
    look();
  }
  const focused = document.activeElement?.dataset?.pool;
  const cards = list.map((pool) => {
    const seen = seriesOf("pool", pool.name);
    const states = Object.entries(pool.states).map(([state, count]) => element("span", { class: STATE_KIND[state] }, `${count} ${state} `));
    const warns = [pool.panicking ? "panics: health is ignored" : null, pool.waiting > 0 ? `${pool.waiting} wait` : null, pool.uneven.length > 0 ? "uneven" : null].filter(Boolean);
    const card = element("button", { type: "button", class: "card", "aria-expanded": `${open.pool === pool.name}`, "aria-controls": "pool", "data-pool": pool.name, click: () => visit(pool.name) },
      element("span", { class: "row" }, element("strong", {}, pool.name), element("span", { class: "quiet" }, pool.policy)),
      element("span", { class: "row" }, element("span", {}, ...states), element("span", { class: "warn" }, warns.join(" · "))),
      spark([{ values: seen.rates("requests"), kind: "line" }, { values: seen.rates("errors"), kind: "bad" }], "requests and errors a second"),
      element("span", { class: "row" },
        element("span", {}, `${number(seen.rate("requests"))}/s`),
        element("span", {}, `errors ${percent(seen.errors())}`),
        element("span", {}, `p50 ${millis(seen.quantile(0.5))}`),
        element("span", {}, `p99 ${millis(seen.quantile(0.99))}`)),
      element("span", { class: "quiet" }, `${number(pool.in_flight)} under way, load line ${number(pool.load_line)}`));
    return element("div", { role: "listitem" }, card);
  });
  byId("pool-list").replaceChildren(...cards);
  if (focused !== undefined) [...document.querySelectorAll(".card")].find((card) => card.dataset.pool === focused)?.focus();
}

function choose(pool) {
  open.pool = pool;
  open.offset = 0;
  open.answer = pool;
  byId("pool").hidden = false;
  byId("pool-title").textContent = pool;
}

/** Opens a pool because somebody wants it, in a way that can be linked to. */
function visit(pool) {
  history.replaceState(null, "", `#pool=${encodeURIComponent(pool)}`);
  choose(pool);
  look();
}

function backends(stats) {
  const { pool, all, found, offset, page } = stats.backends;
  if (pool !== open.pool) return;
  open.found = found;
  const last = Math.min(offset + page.length, found);
  byId("where").textContent = found === 0 ? `none of ${all}` : `${offset + 1} to ${last} of ${found}${found === all ? "" : `, ${all} in all`}`;
  byId("before").disabled = offset === 0;
  byId("after").disabled = last >= found;
  const told = stats.pools.find((one) => one.name === pool)?.uneven ?? [];
  byId("uneven").replaceChildren(...told.map((one) => element("li", {}, one.words)));
  const focused = document.activeElement?.dataset?.act;
  byId("backends").replaceChildren(...page.map((backend) => ship(pool, backend, stats.may_write)));
  if (focused) [...document.querySelectorAll("[data-act]")].find((button) => button.dataset.act === focused)?.focus();
}

function ship(pool, backend, writes) {
  const seen = seriesOf(`backend ${pool}`, backend.name);
  const since = (Date.now() - new Date(backend.since).getTime()) / 1000;
  const fact = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, value));
  const weight = backend.effective_weight > 0 && backend.effective_weight < backend.weight ? `${backend.effective_weight.toFixed(1)} of ${backend.weight}` : `${backend.weight}`;
  const act = (what, words, change) => element("button", { type: "button", "data-act": `${pool}/${backend.name}/${what}`, click: () => confirmChange(pool, backend, what, change) }, words);
  const withdrawn = backend.state === "draining" || backend.state === "maintenance";
  return element("article", { class: "ship", role: "listitem", "aria-label": backend.name },
    element("div", { class: "top" }, element("h4", {}, backend.name), element("span", { class: `badge ${STATE_KIND[backend.state]}` }, backend.state)),
    element("div", { class: "cause" }, `${backend.cause}, for ${span(Math.max(0, since))}${backend.name === backend.address ? "" : ` · ${backend.address}`}${backend.origin === "api" ? " · made by the API" : ""}`),
    hull(backend),
    element("dl", {},
      fact("share", `${backend.share_percent} %`), fact("per second", number(seen.rate("requests"))), fact("errors", percent(seen.errors())), fact("weight", weight),
      fact("p50", millis(seen.quantile(0.5))), fact("p90", millis(seen.quantile(0.9))), fact("p99", millis(seen.quantile(0.99))), fact("sessions", number(backend.sticky_sessions))),
    spark([{ values: seen.rates("requests"), kind: "line" }, { values: seen.rates("errors"), kind: "bad" }], "requests and errors a second"),
    writes ? element("div", { class: "actions" },
      withdrawn ? act("ready", "Ready", { state: "ready" }) : act("drain", "Drain", { state: "drain" }),
      act("weight", "Weight…", null)) : null);
}

function rows(kind, id, list, more) {
  byId(id).replaceChildren(...list.map((one) => {
    const seen = seriesOf(kind, one.name);
    const failing = seen.errors();
    return row(one.name || "(no route)", ["n", number(seen.rate("requests"))], [`n ${failing > 0 ? "bad" : ""}`, percent(failing)], ...more(one, seen),
      spark([{ values: seen.rates("requests"), kind: "line" }, { values: seen.rates("errors"), kind: "bad" }], "requests and errors a second"));
  }));
}

function failures(counts) {
  const list = Object.entries(counts).map(([reason, count]) => ({ reason, count, rate: seriesOf("failure", reason).rate("requests") }));
  list.sort((a, b) => b.rate - a.rate || b.count - a.count);
  const lines = list.map(({ reason, count, rate }) => row(reason, ["n", number(rate)], ["n", number(count)]));
  byId("failure-rows").replaceChildren(...(lines.length ? lines : [row("nothing so far", "", "")]));
}

function certificates(list) {
  const lines = list.map((one) => {
    const days = one.not_after ? Math.floor((new Date(one.not_after).getTime() - Date.now()) / 86400000) : null;
    const kind = days === null || days < 7 ? "bad" : days < 30 ? "warn" : "good";
    return row(one.listener, (one.names ?? []).join(", ") || one.path, [`n ${kind}`, days === null ? "–" : days < 0 ? "over" : days], one.error ?? "in use");
  });
  byId("certificate-rows").replaceChildren(...(lines.length ? lines : [row("TLS ends at no listener", "", "", "")]));
}
