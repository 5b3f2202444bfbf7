// The chart of an evaluation, and the start of its page.

/** Draw a group of rows for each task, with a row for each target. */
function scoreChart(width) {
  const tasks = [...new Set(data.scores.map((one) => one.task))];
  const shares = [...data.scores, ...data.published].flatMap((one) => [one.low ?? one.value, one.high ?? one.value]);
  const room = 12 + 6.6 * Math.max(...names.map((name) => marked(name).length));
  const ends = data.scores.filter((one) => one.low !== null && one.high !== null);
  const row = 17 * Math.max(1, d3.max(tasks, (task) => data.scores.filter((one) => one.task === task).length));
  return {
    height: 70 + tasks.length * (row + 26),
    marginLeft: Math.min(room, width / 3),
    marginBottom: 44,
    x: { domain: [Math.max(0, d3.min(shares) - 0.05), Math.min(1, d3.max(shares) + 0.05)], tickFormat: percent,
      label: "score", labelOffset: 40, grid: true },
    y: { domain: names, tickFormat: marked, label: null, tickSize: 0 },
    fy: { domain: tasks, axis: null, padding: 26 / (row + 26) },
    color: colors(),
    marks: [
      Plot.text(tasks, { fy: (task) => task, text: (task) => task, frameAnchor: "top-left", dy: -7, lineAnchor: "bottom",
        fontWeight: 600 }),
      Plot.ruleX(data.published, { fy: "task", x: "value", stroke: "var(--ink)", strokeDasharray: "4 3" }),
      Plot.text(data.published, { fy: "task", x: "value", frameAnchor: "top", dy: -7, lineAnchor: "bottom",
        fill: "var(--soft)", text: (d) => `published ${d3.format(".1%")(d.value)}`, ...halo }),
      Plot.ruleY(ends, { fy: "task", y: "target", x1: "low", x2: "high", stroke: "target", strokeWidth: 3,
        strokeOpacity: 0.4 }),
      Plot.dot(data.scores, { fy: "task", y: "target", x: "value", fill: "target", r: 5 }),
      Plot.tip(data.scores, Plot.pointer({ fy: "task", y: "target", x: "value", title: "title" })),
    ],
  };
}

themeSwitch();
folds();
document.querySelectorAll("table.sortable").forEach(sortable);
chart($("plot-scores"), () => "Score of each target on each task; the table below has the numbers", scoreChart);
watchWidth();
drawSoon();
document.documentElement.dataset.ready = "yes";
