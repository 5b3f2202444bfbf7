"use strict";
// What every part of the page uses. Text of others goes in as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const names = data.targets.map((target) => target.name);
const simulated = new Set(data.targets.filter((t) => t.simulated).map((t) => t.name));
const reference = data.targets.find((target) => target.reference)?.name;
const shownTargets = new Set(names);
const whenShownChanges = [];

const $ = (id) => document.getElementById(id);

/** An element; children are elements or strings, which become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const colour = (name) => `var(--c${names.indexOf(name) % 8})`;
const marked = (name) => (simulated.has(name) ? `~ ${name}` : name);

/** The coloured dot that stands for a target everywhere. */
function dot(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const circle = document.createElementNS(space, "circle");
  svg.setAttribute("class", `mark c${names.indexOf(name) % 8}`);
  svg.setAttribute("viewBox", "-6 -6 12 12");
  svg.setAttribute("aria-hidden", "true");
  circle.setAttribute("r", "5");
  svg.append(circle);
  return svg;
}

function digits(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const seconds = (value) => (value < 1 ? `${digits(value * 1e3)} ms` : `${digits(value)} s`);

/** Seconds on an axis: no more digits than it takes. */
const tickSeconds = (value) =>
  value < 1e-3 ? `${+(value * 1e6).toPrecision(3)} µs`
    : value < 1 ? `${+(value * 1e3).toPrecision(3)} ms` : `${+value.toPrecision(3)} s`;

function dollars(value) {
  if (value === 0) return "$0";
  if (value >= 1000) return `$${Math.round(value).toLocaleString("en")}`;
  return value >= 1e-4 ? `$${+value.toPrecision(3)}` : `$${value.toExponential(1)}`;
}

const percent = (share) => `${Math.round(share * 100)} %`;
const thousands = (value) => value.toLocaleString("en");

/** The switch between the system's theme, light and dark; remembered where that is allowed. */
function themeSwitch() {
  const themes = ["auto", "light", "dark"];
  const button = $("theme");
  const remembered = () => {
    try {
      return localStorage.getItem("phi2-theme");
    } catch {
      return null;
    }
  };
  const set = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    try {
      localStorage.setItem("phi2-theme", theme);
    } catch {
      // A page from a file may not be allowed to remember.
    }
  };
  const theme = remembered();
  let now = themes.includes(theme) ? theme : "auto";
  set(now);
  button.hidden = false;
  button.addEventListener("click", () => {
    now = themes[(themes.indexOf(now) + 1) % themes.length];
    set(now);
  });
}

/** The chips that show and hide targets in charts and among the answers. */
function targetChips() {
  $("shown").addEventListener("change", (event) => {
    if (event.target.checked) shownTargets.add(event.target.value);
    else shownTargets.delete(event.target.value);
    for (const act of whenShownChanges) act();
  });
}
