// Cost against latency and agreement, cost over volume, and candidates for a model.

function placed(needed) {
  return visible(data.choices).filter((one) => one.cost !== null && one.cost.value > 0 && needed(one));
}

function costScale(rows, width) {
  const values = rows.flatMap((one) => [one.cost.value, one.cost.low, one.cost.high]);
  return { ...logScale(values, dollars, "US dollars per 1,000 answers", width - 250, 1.6), grid: true };
}

const name = (one) => marked(one.target) + (one.chosen ? ", chosen" : "");

/** Return the options that both charts share, with room at the right for the longest name. */
function frame(rows) {
  const room = 24 + 6.6 * Math.max(...rows.map((one) => name(one).length));
  return { height: HEIGHT, marginTop: TOP, marginBottom: BOTTOM, marginLeft: 58, marginRight: room };
}

function costAgainstP95(width) {
  const rows = placed((one) => one.p95 !== null && (one.p95.value ?? one.p95.censored_above) !== null);
  if (!rows.length) return null;
  const p95 = (one) => one.p95.value ?? one.p95.censored_above;
  const values = rows.flatMap((one) => [p95(one), one.p95.low, one.p95.high]);
  const ends = rows.filter((one) => one.p95.low !== null && one.p95.high !== null);
  const x = costScale(rows, width);
  const y = { ...logScale(values, tickSeconds, "E2E p95", HEIGHT, 1.35), grid: true };
  return {
    ...frame(rows),
    x,
    y,
    color: colors(),
    marks: [
      Plot.ruleX(ends, { x: (d) => d.cost.value, y1: (d) => d.p95.low, y2: (d) => d.p95.high,
        stroke: "target", strokeWidth: 3, strokeOpacity: 0.4 }),
      ...pointMarks(rows, p95, x, y),
      Plot.text(rows.filter((one) => one.p95.value === null), { x: (d) => d.cost.value, y: p95,
        text: (d) => `> ${seconds(d.p95.censored_above)}`, fill: "var(--bad)", dy: 18, ...halo }),
    ],
  };
}

/** Return dots, each joined to its name in a column at the right, where no name covers another. */
function pointMarks(rows, y, x, yScale) {
  const ends = rows.filter((one) => one.cost.low !== null && one.cost.high !== null);
  const edge = x.domain[1];
  const labels = apart(rows, y, yScale).map(([one, at]) => ({ ...one, at, from: y(one) }));
  return [
    Plot.ruleY(ends, { y, x1: (d) => d.cost.low, x2: (d) => d.cost.high, stroke: "target",
      strokeWidth: 3, strokeOpacity: 0.4 }),
    Plot.link(labels, { x1: (d) => d.cost.value, y1: "from", x2: edge, y2: "at", stroke: "target",
      strokeOpacity: 0.35 }),
    ...rows.map((one) =>
      Plot.dot([one], { x: one.cost.value, y: y(one), stroke: color(one.target), strokeWidth: 2,
        fill: one.dominated ? "var(--ground)" : color(one.target), r: one.chosen ? 8 : 5.5 }),
    ),
    Plot.text(labels, { x: edge, y: "at", fill: "target", dx: 6, textAnchor: "start", text: name }),
  ];
}

const HEIGHT = 320;
const TOP = 30;
const BOTTOM = 44;
const LINE = 17;

/** Return ``[row, y]``: the place of each name, as near to its dot as one line per name allows. */
function apart(rows, y, options) {
  const scale = Plot.scale({ y: { ...options, range: [HEIGHT - BOTTOM, TOP] } });
  const sorted = [...rows].sort((a, b) => scale.apply(y(a)) - scale.apply(y(b)));
  const places = [];
  for (const one of sorted) {
    places.push(Math.max(scale.apply(y(one)), (places[places.length - 1] ?? 0) + LINE));
  }
  for (let i = places.length - 1, limit = HEIGHT - BOTTOM; i >= 0; i -= 1, limit = places[i + 1] - LINE) {
    places[i] = Math.min(places[i], limit);
  }
  return sorted.map((one, i) => [one, scale.invert(places[i])]);
}

function costAgainstSame(width) {
  const rows = placed((one) => one.same !== null);
  if (!rows.length) return null;
  const same = (one) => one.same.value;
  const ends = rows.filter((one) => one.same.low !== null && one.same.high !== null);
  const low = Math.min(...rows.map((one) => one.same.low ?? one.same.value));
  const x = costScale(rows, width);
  const y = { domain: [Math.max(0, low - 0.05), 1.02], tickFormat: percent, label: "exact match",
    grid: true, ticks: 6 };
  return {
    ...frame(rows),
    x,
    y,
    color: colors(),
    marks: [
      Plot.ruleX(ends, { x: (d) => d.cost.value, y1: (d) => d.same.low, y2: (d) => d.same.high,
        stroke: "target", strokeWidth: 3, strokeOpacity: 0.4 }),
      ...pointMarks(rows, same, x, y),
    ],
  };
}

function costOverVolume(width) {
  if (data.curve === null) return null;
  const curves = names.filter((one) => shownTargets.has(one) && one in data.curve.usd_per_summary);
  if (!curves.length) return null;
  const rows = curves.flatMap((target) =>
    data.curve.usd_per_summary[target].map((usd, i) => ({ target, usd: usd * 1000, volume: data.curve.volumes[i] })),
  );
  const [least, most] = [data.curve.volumes[0], data.curve.volumes[data.curve.volumes.length - 1]];
  const changes = data.changes.filter((one) => one.usd !== null && shownTargets.has(one.cheaper)
    && shownTargets.has(one.below) && one.volume >= least && one.volume <= most);
  const labels = curves.map((target, rank) => {
    const own = rows.filter((row) => row.target === target);
    return own[Math.floor(own.length * (0.12 + (0.7 * rank) / Math.max(1, curves.length)))];
  });
  return {
    height: 380,
    marginLeft: 66,
    marginBottom: 44,
    x: { ...logScale([least, most], (v) => d3.format("~s")(v), "answers per day", width - 80, 1), grid: true },
    y: { ...logScale(rows.map((row) => row.usd), dollars, "US dollars per 1,000 answers", 200), grid: true },
    color: colors(),
    marks: [
      ...curves.map((target) =>
        Plot.line(rows.filter((row) => row.target === target), { x: "volume", y: "usd",
          stroke: color(target), strokeWidth: 2.2, strokeDasharray: simulated.has(target) ? "6 3" : null }),
      ),
      Plot.ruleY(changes, { y: (d) => d.usd * 1000, x1: (d) => Math.max(d.low ?? least, least),
        x2: (d) => Math.min(d.high ?? most, most), stroke: "var(--ink)", strokeWidth: 4, strokeOpacity: 0.3 }),
      Plot.dot(changes, { x: "volume", y: (d) => d.usd * 1000, fill: "var(--ink)", r: 4.5 }),
      ...(data.per_day === null ? [] : [
        Plot.ruleX([data.per_day], { stroke: "var(--soft)", strokeDasharray: "2 3" }),
        Plot.text([data.per_day], { x: (d) => d, frameAnchor: "top", dx: 5, dy: 4, textAnchor: "start",
          text: (d) => `${thousands(d)} per day`, fill: "var(--soft)" }),
      ]),
      Plot.text(labels, { x: "volume", y: "usd", text: (d) => marked(d.target), fill: "target", dy: -10, ...halo }),
      Plot.tip(changes, Plot.pointer({ x: "volume", y: (d) => d.usd * 1000, title: "sentence" })),
    ],
  };
}

function candidates(target) {
  return (width) => {
    const rows = Object.entries(data.candidates[target]).map(([candidate, value]) => ({ candidate, value }));
    return {
      height: 74 + rows.length * 20,
      marginLeft: Math.min(190, width / 2.5),
      marginRight: 50,
      marginBottom: 44,
      x: { labelOffset: 40, label: "log10 likelihood ratio to the reference", grid: true },
      y: { domain: rows.sort((a, b) => b.value - a.value).map((row) => row.candidate), label: null, tickSize: 0 },
      marks: [
        Plot.barX(rows, { y: "candidate", x: "value", fill: (d) => (d.value > 0 ? "var(--bad)" : "var(--soft)") }),
        Plot.ruleX([0]),
      ],
    };
  };
}

function choiceCharts() {
  chart($("plot-cost-p95"), () => "Cost against E2E p95 of every target with a known cost; the table above has the numbers", costAgainstP95);
  chart($("plot-cost-same"), () => "Cost against exact match of every target with a known cost; the table above has the numbers", costAgainstSame);
  chart($("plot-curve"), () => "Cost of each target over the volume; the break-even points are listed below", costOverVolume);
  for (const box of document.querySelectorAll("[data-candidates]")) {
    const target = box.dataset.candidates;
    chart(box, () => `Candidates for the model of ${target}; the table below has the numbers`, candidates(target));
  }
  const unknown = data.choices.filter((one) => one.cost === null).map((one) => one.target);
  const free = data.choices.filter((one) => one.cost !== null && one.cost.value === 0).map((one) => one.target);
  const said = [];
  if (unknown.length) said.push(`The two charts leave out ${unknown.join(", ")}, whose cost is unknown.`);
  if (free.length) said.push(`The two charts leave out ${free.join(", ")}: a cost of 0 has no place on a logarithmic axis.`);
  $("unplaced").textContent = said.join(" ");
}
