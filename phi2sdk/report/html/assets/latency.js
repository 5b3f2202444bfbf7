// Latency: distribution, percentiles, and each request over the run.

const METRICS = {
  ttft: "time to first token",
  e2e: "end-to-end latency",
  response: "response time",
  tpot: "time per output token",
  icl: "time between chunks",
};
let metric = "e2e";

function distributions() {
  return visible(
    Object.entries(data.distributions[metric] ?? {}).map(([target, found]) => ({ target, ...found })),
  );
}

function ecdf(width) {
  const found = distributions();
  if (!found.length) return null;
  const byMedian = [...found].sort((a, b) => a.x[a.x.length >> 1] - b.x[b.x.length >> 1]);
  // The names of the curves are at different heights, so that they do not overlap.
  const labels = byMedian.map((one, rank) => {
    const height = 0.9 - (0.8 * (rank + 0.5)) / byMedian.length;
    const place = Math.max(0, one.y.findIndex((y) => y >= height));
    return { x: one.x[place], y: one.y[place], target: one.target };
  });
  const far = Math.max(...found.map((one) => one.x[one.x.length - 1]));
  return {
    height: Math.max(340, 70 + found.length * 76),
    marginLeft: 44,
    marginRight: 90,
    marginBottom: 44,
    x: logScale(found.flatMap((one) => [one.x[0], far]), tickSeconds, METRICS[metric], width),
    y: { domain: [0, 1], tickFormat: "%", label: "share of all requests", grid: true },
    color: colors(),
    marks: [
      ...found.map((one) =>
        Plot.line(
          [
            { x: one.x[0], y: 0 },
            ...one.x.map((x, i) => ({ x, y: one.y[i] })),
            { x: far, y: one.y[one.y.length - 1] },
          ],
          { x: "x", y: "y", curve: "step-after", stroke: color(one.target), strokeWidth: 2,
            strokeDasharray: simulated.has(one.target) ? "6 3" : null },
        ),
      ),
      Plot.text(labels, { x: "x", y: "y", text: (d) => marked(d.target), fill: "target", dx: 7, dy: 9,
        textAnchor: "start", ...halo }),
      Plot.ruleY([0]),
    ],
  };
}

function ladder(width) {
  const rows = visible(data.ladder[metric] ?? []);
  if (!rows.length) return null;
  const known = rows.filter((row) => row.value !== null);
  const never = rows.filter((row) => row.value === null);
  const values = rows.flatMap((row) => [row.value, row.low, row.high]);
  const shown = names.filter((name) => rows.some((row) => row.target === name));
  if (!values.some((value) => value > 0)) return null;
  const top = 1.15 * Math.max(...values.filter((value) => value !== null));
  const open = known.filter((row) => row.low !== null || row.high !== null);
  return {
    height: 70 + shown.length * 4 * 19,
    marginLeft: 118,
    marginRight: 44,
    marginBottom: 44,
    x: { ...logScale(values, tickSeconds, METRICS[metric], width - 180), grid: true },
    y: { domain: shown, label: null, tickFormat: marked, tickSize: 0, padding: 0.2 },
    fy: { domain: ["p50", "p90", "p95", "p99"], label: null, padding: 0.12 },
    color: colors(),
    marks: [
      Plot.frame({ stroke: "var(--line)" }),
      Plot.ruleY(open, { fy: "quantile", y: "target", x1: (d) => d.low ?? d.value,
        x2: (d) => d.high ?? top, stroke: "target", strokeWidth: 3, strokeOpacity: 0.45 }),
      Plot.dot(known, { fy: "quantile", y: "target", x: "value", fill: "target", r: 4 }),
      Plot.text(never, { fy: "quantile", y: "target", frameAnchor: "right", dx: -6, textAnchor: "end",
        text: (d) => (d.censored_above ? `> ${seconds(d.censored_above)} \u2192` : "failed"),
        fill: "var(--bad)" }),
      Plot.tip(known, Plot.pointer({ fy: "quantile", y: "target", x: "value", title: (d) =>
        `${marked(d.target)} ${d.quantile}: ${seconds(d.value)}` +
        (d.low === null && d.high === null
          ? "\ntoo few prompts for an interval"
          : `\n95% interval: ${d.low === null ? "0" : seconds(d.low)} to ${d.high === null ? "no end" : seconds(d.high)}`),
      })),
    ],
  };
}

function overTime(width) {
  const which = metric === "ttft" ? "ttft" : "e2e";
  const rows = [];
  const failed = [];
  for (const [target, found] of Object.entries(data.time)) {
    if (!shownTargets.has(target)) continue;
    found.t.forEach((t, i) => {
      if (found[which][i] !== null) rows.push({ target, t, value: found[which][i] });
    });
    for (const t of found.failed) failed.push({ target, t });
  }
  if (!rows.length) return null;
  const shown = names.filter((name) => rows.some((r) => r.target === name) || failed.some((r) => r.target === name));
  const scale = logScale(rows.map((row) => row.value), tickSeconds, METRICS[which], 200, 1.3);
  return {
    height: 50 + shown.length * 84,
    marginLeft: 58,
    marginRight: 118,
    marginBottom: 44,
    x: { label: "seconds since the start of the run", labelOffset: 40, grid: true },
    y: scale,
    fy: { domain: shown, label: null, tickFormat: marked, padding: 0.15 },
    color: colors(),
    marks: [
      Plot.frame({ stroke: "var(--line)" }),
      Plot.dot(rows, { fy: "target", x: "t", y: "value", fill: "target", r: 1.8, fillOpacity: 0.5 }),
      Plot.line(rows, Plot.windowY({ k: 15, reduce: "median", strict: false },
        { fy: "target", x: "t", y: "value", stroke: "target", strokeWidth: 1.5 })),
      Plot.dot(failed, { fy: "target", x: "t", y: scale.domain[1], symbol: "times", stroke: "var(--bad)", r: 4 }),
      Plot.tip(rows, Plot.pointer({ fy: "target", x: "t", y: "value",
        title: (d) => `${marked(d.target)}\nat ${d.t.toFixed(1)} s: ${seconds(d.value)}` })),
    ],
  };
}

function latencyCharts() {
  $("metric").addEventListener("change", (event) => {
    metric = event.target.value;
    drawAll();
  });
  const which = () => METRICS[metric];
  chart($("plot-ecdf"), () => `Distribution of the ${which()} by target; the tables below have the numbers`, ecdf);
  chart($("plot-ladder"), () => `Percentiles of the ${which()} by target; the tables below have the numbers`, ladder);
  chart($("plot-time"), () => `The ${which()} of each request over the run, by target`, overTime);
}
