// Decisions to open, events as they happen, and what operators change.

const EVENTS_SHOWN = 200;

async function decisions() {
  const failed = byId("failed").checked;
  try {
    const list = await json(`/api/v1/decisions?limit=15${failed ? "&failed=true" : ""}`);
    const lines = list.map((one) => {
      const asked = [one.method, `${one.host ?? ""}${one.path ?? ""}`].filter(Boolean).join(" ") || one.protocol;
      const tries = one.attempts.length > 1 ? `${one.backend} (${one.attempts.length} attempts)` : one.backend;
      const button = element("button", { type: "button", "data-decision": one.request_id, click: () => openDecision(one.request_id) }, "Why?");
      return row(clock(one.at), [`n ${one.status >= 500 || one.reason ? "bad" : ""}`, one.status || "–"], one.reason, asked, one.route, one.pool, tries, ["n", millis(one.duration_ms)], button);
    });
    const focused = document.activeElement?.dataset?.decision;
    const key = list.map((one) => one.request_id).join(" ");
    replace(byId("decision-rows"), lines.length ? lines : [row("none yet")], key || "none");
    if (focused) [...document.querySelectorAll("[data-decision]")].find((button) => button.dataset.decision === focused)?.focus();
  } catch (error) {
    trouble(error.message);
  }
}

async function openDecision(id) {
  const dialog = byId("decision");
  byId("decision-title").textContent = `Decision ${id}`;
  byId("decision-steps").replaceChildren();
  byId("decision-line").textContent = "";
  dialog.showModal();
  try {
    const told = await json(`/api/v1/decisions/${encodeURIComponent(id)}`);
    const way = ["listener", "route", "pool", "backend", "reason"].filter((what) => told[what]).map((what) => (what === "reason" ? told[what] : `${what} ${told[what]}`));
    byId("decision-line").textContent = `${way.join(" → ")} · ${told.status || "connection"} after ${millis(told.duration_ms)}`;
    const marks = { taken: ["✓", "good"], passed: ["·", "quiet"], refused: ["✗", "bad"] };
    let stage = "";
    byId("decision-steps").replaceChildren(...told.steps.map((step) => {
      const [mark, kind] = marks[step.verdict] ?? ["", ""];
      const label = step.stage === stage ? "" : step.stage;
      stage = step.stage;
      return row(["quiet", label], [kind, mark], step.subject, step.why);
    }));
  } catch (error) {
    byId("decision-line").textContent = error.message;
  }
}

function confirmChange(pool, backend, what, change) {
  const dialog = byId("change");
  byId("change-title").textContent = `${pool}/${backend.name}`;
  byId("weight-label").hidden = what !== "weight";
  byId("weight").value = backend.weight;
  byId("change-trouble").hidden = true;
  const words = {
    drain: "It gets no new work and keeps its sticky sessions; what it has goes on. Until it is undone.",
    ready: "It takes work again as its health has it.",
    weight: "Its share of the work instead of the configured one. Empty for the configured one.",
  };
  byId("change-words").textContent = words[what];
  byId("change-go").textContent = { drain: "Drain it", ready: "Make it ready", weight: "Set the weight" }[what];
  byId("change-form").onsubmit = async (event) => {
    event.preventDefault();
    const weight = byId("weight").value;
    const body = change ?? { weight: weight === "" ? null : Number(weight) };
    try {
      await json(`/api/v1/pools/${encodeURIComponent(pool)}/backends/${encodeURIComponent(backend.address)}`, { method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      dialog.close();
      look();
    } catch (error) {
      byId("change-trouble").hidden = false;
      byId("change-trouble").textContent = error.message;
    }
  };
  dialog.showModal();
}

function showEvent(event) {
  const list = byId("event-list");
  list.querySelector(".none")?.remove();
  const kind = event.kind === "health" ? STATE_KIND[event.to] : event.kind === "panic" || event.kind === "missed" ? "bad" : "quiet";
  list.prepend(element("li", {}, element("span", { class: "quiet" }, clock(event.at)), element("span", { class: kind }, event.kind), element("span", {}, event.message)));
  while (list.children.length > EVENTS_SHOWN) list.lastElementChild.remove();
}

/** Reads the stream by hand: an EventSource cannot show a token. */
async function follow() {
  let id = null;
  for (;;) {
    try {
      const answer = await call(id === null ? "/api/v1/events?last=50" : "/api/v1/events", id === null ? {} : { headers: { "last-event-id": id } });
      if (!answer.ok) throw new Error(`${answer.status}`);
      byId("hearing").textContent = "live";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const parts = text.split("\n\n");
        text = parts.pop();
        for (const part of parts) {
          const fields = Object.fromEntries(part.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
          if (fields.id) id = fields.id;
          if (!fields.data) continue;
          const told = JSON.parse(fields.data);
          showEvent(fields.event === "missed" ? { at: Date.now(), kind: "missed", message: `${told.missed} events were missed` } : told);
        }
      }
    } catch {
      byId("hearing").textContent = "not connected";
    }
    await new Promise((go) => setTimeout(go, PERIOD_MS));
  }
}

function begin() {
  byId("filter").addEventListener("input", () => { open.offset = 0; look(); });
  byId("sort").addEventListener("change", () => { open.offset = 0; look(); });
  byId("before").addEventListener("click", () => { open.offset = Math.max(0, open.offset - PAGE); look(); });
  byId("after").addEventListener("click", () => { open.offset += PAGE; look(); });
  byId("failed").addEventListener("change", decisions);
  byId("change-stop").addEventListener("click", () => byId("change").close());
  byId("look-up").addEventListener("submit", (event) => { event.preventDefault(); const id = byId("request-id").value.trim(); if (id) openDecision(id); });
  byId("token-form").addEventListener("submit", () => { sessionStorage.setItem("plimsoll-token", byId("token").value.trim()); byId("token").value = ""; look(); decisions(); });
  byId("event-list").append(element("li", { class: "none quiet" }, "Nothing has happened yet."));
  const tick = async () => {
    if (!document.hidden) await Promise.all([look(), decisions()]);
    setTimeout(tick, PERIOD_MS);
  };
  tick();
  follow();
}

begin();
