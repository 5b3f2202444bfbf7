// What all charts share. Observable Plot draws them at the available width.

const charts = [];

/** Register a chart in a box. ``draw(width)`` returns options of Plot, or null without data. */
function chart(box, label, draw) {
  if (box) charts.push({ box, label, draw, width: 0 });
}

function drawOne(one) {
  const width = Math.floor(one.box.getBoundingClientRect().width) || 640;
  const options = one.draw(width);
  one.width = width;
  if (options === null) {
    one.box.replaceChildren(make("p", { class: "caption" }, "There is no data for this chart."));
    return;
  }
  const svg = Plot.plot({ className: "plot", width, ...options });
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", one.label());
  // The chart has one accessible name. The names of its parts become data for the style sheet.
  for (const part of svg.querySelectorAll("g[aria-label]")) {
    part.dataset.mark = part.getAttribute("aria-label");
    part.removeAttribute("aria-label");
  }
  one.box.replaceChildren(svg);
}

/** The charts inside of an element that no closed section hides. A hidden chart has no width. */
const visibleCharts = (within = document) =>
  charts.filter((one) => within.contains(one.box) && !one.box.closest("details:not([open])"));

const drawAll = () => visibleCharts().forEach(drawOne);

/** Draw one chart after the other, so that the page can react in between. */
function drawSoon() {
  const waiting = visibleCharts();
  const next = () => {
    const one = waiting.shift();
    if (!one) {
      document.documentElement.dataset.drawn = "yes";
      return;
    }
    drawOne(one);
    setTimeout(next);
  };
  next();
}

/** Draw charts again where their width changed, and draw those of a section that opens. */
function watchWidth() {
  document.addEventListener("toggle", (event) => visibleCharts(event.target).forEach(drawOne), true);
  let timer;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      for (const one of visibleCharts()) {
        if (Math.floor(one.box.getBoundingClientRect().width) !== one.width) drawOne(one);
      }
    }, 150);
  });
}

const visible = (rows) => rows.filter((row) => shownTargets.has(row.target));
const colors = () => ({ domain: names, range: names.map(color) });
const halo = { stroke: "var(--ground)", strokeWidth: 4, paintOrder: "stroke" };

/** Return ticks of a logarithmic axis: powers of ten, and values between them if there is room. */
function logTicks(low, high, width) {
  const decades = Math.log10(high / low);
  const steps = decades * 3 * 58 < width ? [1, 2, 5] : [1];
  const ticks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
    for (const step of steps) {
      const tick = step * 10 ** e;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks.length > 2 ? ticks : d3.ticks(low, high, width < 250 ? 2 : 5);
}

/** Return a logarithmic scale over these values, with a margin at both ends. */
function logScale(values, format, label, width, room = 1.15) {
  const known = values.filter((value) => value > 0 && Number.isFinite(value));
  const domain = [Math.min(...known) / room, Math.max(...known) * room];
  return { type: "log", domain, ticks: logTicks(...domain, width), tickFormat: format, label, labelOffset: 40 };
}
