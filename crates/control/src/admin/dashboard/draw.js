"use strict";
// What is drawn. Everything that comes from outside is set as text, and never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  return fill(made, attributes, children);
}

function drawn(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Replaces the children of `parent` only when `key` says that they would be others. */
function replace(parent, children, key) {
  if (key !== undefined && parent.dataset.key === key) return;
  if (key !== undefined) parent.dataset.key = key;
  parent.replaceChildren(...children);
}

/** Lines over time; each is `{ values, kind }`, drawn against the highest of all. */
function spark(lines, label, kind = "spark") {
  const width = 120, height = 30;
  // The young history of a page that was just opened is drawn over the width that half a minute will need.
  const most = Math.max(1e-9, ...lines.flatMap((line) => line.values.map((value) => value ?? 0)));
  const picture = drawn("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label, class: kind });
  for (const { values, kind } of lines) {
    const places = Math.max(values.length, HISTORY_LEAST);
    const step = width / (places - 1);
    const first = places - values.length;
    const points = values.map((value, at) => [(first + at) * step, height - 1 - ((value ?? 0) / most) * (height - 3)]);
    if (points.length < 2) continue;
    const path = points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    if (kind === "line") picture.append(drawn("path", { d: `${path}L${width} ${height}L${points[0][0].toFixed(1)} ${height}Z`, class: "spark-fill" }));
    picture.append(drawn("path", { d: path, class: `spark-${kind}` }));
  }
  return picture;
}

/** A hull in the water. It sinks by what it carries: the water reaches the mark when it carries what it may. */
function hull(backend) {
  const { in_flight: carries, load_line: line } = backend;
  const share = line > 0 ? carries / line : 1;
  const keel = 88, mark = 34, deck = 10;
  const level = Math.max(deck, keel - Math.min(share, 1.4) * (keel - mark));
  const state = [
    "hull",
    share >= 1 ? "hull-over" : share >= 0.8 ? "hull-near" : "",
    backend.effective_weight > 0 ? "" : "hull-out",
  ].filter(Boolean).join(" ");
  const words = `${carries} of ${line} under way`;
  return drawn("svg", { viewBox: "0 0 320 100", class: state, role: "img", "aria-label": words },
    drawn("path", { d: `M14 ${deck}H306L284 76Q278 ${keel} 262 ${keel}H58Q42 ${keel} 36 76Z`, class: "hull-body" }),
    drawn("rect", { x: -600, y: level.toFixed(1), width: 1520, height: (100 - level).toFixed(1), class: "hull-water" }),
    drawn("circle", { cx: 160, cy: mark, r: 13, class: "hull-mark" }),
    drawn("path", { d: `M128 ${mark}H192`, class: "hull-mark" }),
    drawn("text", { x: 204, y: mark + 5, class: "hull-text" }, `${line}`),
    drawn("text", { x: 62, y: mark + 5, class: "hull-text" }, `${carries}`));
}

function row(...cells) {
  return element("tr", {}, ...cells.map((cell) => {
    if (cell instanceof Node) return element("td", {}, cell);
    if (Array.isArray(cell)) return element("td", { class: cell[0] }, `${cell[1]}`);
    return element("td", {}, `${cell ?? ""}`);
  }));
}
