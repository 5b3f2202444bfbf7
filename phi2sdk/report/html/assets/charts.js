// What all charts share. They are drawn by Observable Plot, at the width that there is.

const charts = [];

/** A chart in the box with this id, drawn by ``draw(width)``, which returns options of Plot. */
function chart(box, label, draw) {
  if (box) charts.push({ box, label, draw, width: 0 });
}

function drawOne(one) {
  const width = Math.floor(one.box.getBoundingClientRect().width) || 640;
  const options = one.draw(width);
  one.width = width;
  if (options === null) {
    one.box.replaceChildren(make("p", { class: "caption" }, "Nothing to draw."));
    return;
  }
  const svg = Plot.plot({ className: "plot", width, ...options });
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", one.label());
  // A picture has one name; those of its parts are for style sheets.
  for (const part of svg.querySelectorAll("g[aria-label]")) {
    part.dataset.mark = part.getAttribute("aria-label");
    part.removeAttribute("aria-label");
  }
  one.box.replaceChildren(svg);
}

const drawAll = () => charts.forEach(drawOne);

/** One after the other, so that the page answers in between. */
function drawSoon() {
  const waiting = [...charts];
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

function watchWidth() {
  let timer;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      for (const one of charts) {
        if (Math.floor(one.box.getBoundingClientRect().width) !== one.width) drawOne(one);
      }
    }, 150);
  });
}

const visible = (rows) => rows.filter((row) => shownTargets.has(row.target));
const colours = () => ({ domain: names, range: names.map(colour) });
const halo = { stroke: "var(--ground)", strokeWidth: 4, paintOrder: "stroke" };

/** Ticks of a logarithmic axis: powers of ten, and what lies between them where there is room. */
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

/** A logarithmic scale over these values, with some room at both ends. */
function logScale(values, format, label, width, room = 1.15) {
  const known = values.filter((value) => value > 0 && Number.isFinite(value));
  const domain = [Math.min(...known) / room, Math.max(...known) * room];
  return { type: "log", domain, ticks: logTicks(...domain, width), tickFormat: format, label, labelOffset: 40 };
}
