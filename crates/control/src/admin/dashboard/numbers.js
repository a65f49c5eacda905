// Rates and quantiles, from sums since the start: the difference of two answers says what happened between them.

/** Answers that are kept: four minutes of them, one every two seconds. */
const HISTORY = 120;
const HISTORY_LEAST = 15;
const PERIOD_MS = 2000;
/** Over how many answers rates and quantiles are taken: ten seconds. */
const WINDOW = 5;

/** What was seen of one listener, route, pool or backend. */
class Series {
  constructor() {
    this.seen = [];
  }

  push(now, sums) {
    const last = this.seen[this.seen.length - 1];
    // A process that began anew counts from 0.
    if (last && (sums.requests < last.sums.requests || now < last.now)) this.seen = [];
    this.seen.push({ now, sums });
    if (this.seen.length > HISTORY + WINDOW) this.seen.shift();
  }

  between(at, field) {
    const from = this.seen[Math.max(0, at - WINDOW)], to = this.seen[at];
    const seconds = (to.now - from.now) / 1000;
    return seconds > 0 ? (to.sums[field] - from.sums[field]) / seconds : 0;
  }

  rate(field) {
    return this.seen.length > 1 ? this.between(this.seen.length - 1, field) : 0;
  }

  rates(field) {
    return this.seen.slice(1).map((_, at) => this.between(at + 1, field)).slice(-HISTORY);
  }

  /** The share of requests that failed, of late; nothing when there were none. */
  errors() {
    const requests = this.rate("requests");
    return requests > 0 ? this.rate("errors") / requests : null;
  }

  quantile(share, at = this.seen.length - 1) {
    if (at < 1) return null;
    const from = this.seen[Math.max(0, at - WINDOW)].sums.buckets, to = this.seen[at].sums.buckets;
    return from && to ? quantile(to.map((count, bucket) => count - (from[bucket] ?? 0)), share) : null;
  }

  quantiles(share) {
    return this.seen.slice(1).map((_, at) => this.quantile(share, at + 1)).slice(-HISTORY);
  }
}

let bucketBounds = [];

/** The latency in milliseconds that `share` of what was counted does not exceed; evenly spread within its bucket. */
function quantile(counts, share) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all <= 0) return null;
  let left = all * share;
  for (let at = 0; at < counts.length; at += 1) {
    if (counts[at] >= left && counts[at] > 0) {
      const low = at > 0 ? bucketBounds[at - 1] : 0;
      const high = bucketBounds[at] ?? low;
      return low + (high - low) * (left / counts[at]);
    }
    left -= counts[at];
  }
  return bucketBounds[bucketBounds.length - 1];
}

function number(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  if (value >= 100 || Number.isInteger(value)) return `${Math.round(value)}`;
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function millis(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return value >= 10 ? `${value.toFixed(0)} ms` : `${value.toFixed(1)} ms`;
}

function percent(share) {
  if (share === null || share === undefined) return "–";
  return share > 0 && share < 0.001 ? "<0.1 %" : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

function clock(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleTimeString([], { hour12: false });
}

/** How long ago, or for how long. */
function span(seconds) {
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0s";
  return units.slice(first, first + 2).map(([unit, size], at) => `${Math.floor((at ? seconds % units[first][1] : seconds) / size)}${unit}`).join(" ");
}
