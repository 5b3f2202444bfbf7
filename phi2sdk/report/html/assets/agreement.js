// After how many tokens the answers of each target differ from the reference.

function partingCurves(width) {
  const found = visible(Object.entries(data.parting).map(([target, one]) => ({ target, ...one })));
  if (!found.length) return null;
  const end = Math.max(...found.flatMap((one) => one.x));
  const lowest = Math.min(...found.flatMap((one) => one.y));
  // Curves with the same end share one label.
  const labels = d3.groups(found, (one) => one.y[one.y.length - 1]).map(([y, group]) => ({
    x: end,
    y,
    text: group.map((one) => marked(one.target)).join(", "),
    fill: group.length === 1 ? color(group[0].target) : "var(--ink)",
  }));
  return {
    height: 320,
    marginLeft: 52,
    marginRight: 30,
    marginBottom: 44,
    x: { label: "tokens", labelOffset: 40, domain: [0, end] },
    y: { domain: [Math.min(0.9, lowest), 1], tickFormat: percent, label: "answers still equal", grid: true },
    color: colors(),
    marks: [
      ...found.map((one) =>
        Plot.line(
          [{ x: 0, y: 1 }, ...one.x.map((x, i) => ({ x, y: one.y[i] }))],
          { x: "x", y: "y", curve: "step-after", stroke: color(one.target), strokeWidth: 2.2,
            strokeDasharray: simulated.has(one.target) ? "6 3" : null },
        ),
      ),
      ...labels.map((label) =>
        Plot.text([label], { x: "x", y: "y", text: "text", fill: label.fill, textAnchor: "end", dx: -4,
          dy: label.y > 0.1 ? 11 : -9, ...halo }),
      ),
    ],
  };
}

function agreementCharts() {
  chart($("plot-parting"), () => "Share of prompts whose answers still equal the reference, over tokens; the table above has the medians", partingCurves);
}
