"use strict";
// Functions that all parts of the page use. Text from outside is inserted as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const names = data.targets.map((target) => target.name);
const simulated = new Set(data.targets.filter((t) => t.simulated).map((t) => t.name));
const reference = data.targets.find((target) => target.reference)?.name;
const shownTargets = new Set(names);
const whenShownChanges = [];

const $ = (id) => document.getElementById(id);

/** Make an element. Its children are elements, or strings that become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const color = (name) => `var(--c${names.indexOf(name) % 8})`;
const marked = (name) => (simulated.has(name) ? `~ ${name}` : name);

/** Make the colored dot of a target. */
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

/** Format seconds on an axis, without needless digits. */
const tickSeconds = (value) =>
  value < 1e-3 ? `${+(value * 1e6).toPrecision(3)} µs`
    : value < 1 ? `${+(value * 1e3).toPrecision(3)} ms` : `${+value.toPrecision(3)} s`;

function dollars(value) {
  if (value === 0) return "$0";
  if (value >= 1000) return `$${Math.round(value).toLocaleString("en")}`;
  return value >= 1e-4 ? `$${+value.toPrecision(3)}` : `$${value.toExponential(1)}`;
}

const percent = (share) => `${Math.round(share * 100)}%`;
const thousands = (value) => value.toLocaleString("en");

/** Switch between the theme of the system, light and dark; remember it if the browser allows. */
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
      // The browser does not let a page from a file store anything.
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

/** Show and hide targets in charts and among the answers. */
function targetChips() {
  $("shown").addEventListener("change", (event) => {
    if (event.target.checked) shownTargets.add(event.target.value);
    else shownTargets.delete(event.target.value);
    for (const act of whenShownChanges) act();
  });
}

/** Collapsed sections: links open them, a button opens all of them, and printing shows all. */
function folds() {
  const all = [...document.querySelectorAll("details.fold")];
  const button = $("expand");
  const open = (details, state) => details.forEach((one) => (one.open = state));
  const label = () => {
    button.textContent = all.every((one) => one.open) ? "Collapse all" : "Expand all";
  };
  const reveal = (target) => {
    for (let one = target?.closest("details"); one; one = one.parentElement.closest("details")) one.open = true;
    target?.scrollIntoView();
  };
  document.addEventListener("toggle", label, true);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) setTimeout(() => reveal($(link.hash.slice(1))));
    if (link?.closest("[popover]:popover-open")) $("sections").hidePopover();
  });
  addEventListener("hashchange", () => reveal(document.querySelector(":target")));
  reveal(document.querySelector(":target"));
  button.hidden = false;
  button.addEventListener("click", () => open(all, !all.every((one) => one.open)));
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all.filter((one) => !one.open);
    open(closed, true);
    drawAll();
  });
  addEventListener("afterprint", () => open(closed, false));
  label();
}
