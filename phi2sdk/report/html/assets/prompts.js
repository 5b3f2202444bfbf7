// All prompts and answers. Rows are made when they are listed, and their content when they open.

const BATCH = 100;
const list = $("prompt-list");
let matching = data.prompts;
let listed = 0;

/** Return the state of the answers of a target to a prompt, over all repetitions. */
function stateOf(prompt, target) {
  const found = prompt.answers[target] ?? [];
  if (!found.length) return { kind: "missing", short: "-", long: "no request" };
  const failed = found.find((one) => one.outcome && one.outcome !== "empty");
  if (failed) return { kind: "failed", short: "×", long: `failed: ${failed.error ?? failed.outcome}` };
  if (target === reference) return { kind: "reference", short: "ref", long: "reference" };
  const differing = found.filter((one) => one.diff);
  if (differing.length) {
    const at = Math.min(...differing.map((one) => one.at ?? 0));
    return { kind: "differs", short: `≠ ${at}`, long: `differs after ${at} tokens`, at };
  }
  if (found.every((one) => one.same)) return { kind: "same", short: "=", long: "equal" };
  return { kind: "alone", short: "?", long: "the reference has no answer" };
}

const states = new Map();

function statesOf(prompt) {
  if (!states.has(prompt)) {
    states.set(prompt, new Map(names.map((target) => [target, stateOf(prompt, target)])));
  }
  return states.get(prompt);
}

const textOf = (answer) =>
  answer.text ?? (answer.diff ?? []).filter(([kind]) => kind !== 1).map(([, text]) => text).join("");

const haystacks = new Map();

function haystack(prompt) {
  if (!haystacks.has(prompt)) {
    const parts = [prompt.id, prompt.text];
    for (const answers of Object.values(prompt.answers)) {
      for (const one of answers) parts.push(textOf(one), one.message ?? "", one.error ?? "", one.id ?? "");
    }
    haystacks.set(prompt, parts.join("\n").toLowerCase());
  }
  return haystacks.get(prompt);
}

/** Return whether a target gave different answers to the same prompt. */
function unstable(prompt, target) {
  const [first, ...rest] = (prompt.answers[target] ?? []).filter((one) => !one.outcome);
  const text = (one) => (one.same ? textOf(originalOf(prompt, one)) : textOf(one));
  return first !== undefined && rest.some((one) => text(one) !== text(first));
}

function originalOf(prompt, answer) {
  const found = prompt.answers[reference] ?? [];
  return found.find((one) => (one.repetition ?? 0) === (answer.repetition ?? 0)) ?? {};
}

const FILTERS = {
  all: () => true,
  differs: (prompt, target) => statesOf(prompt).get(target).kind === "differs",
  same: (prompt, target) => ["same", "reference"].includes(statesOf(prompt).get(target).kind),
  failed: (prompt, target) => statesOf(prompt).get(target).kind === "failed",
  unstable,
  retried: (prompt, target) => (prompt.answers[target] ?? []).some((one) => one.attempts),
};

const differing = (prompt) => [...statesOf(prompt).values()].filter((s) => s.kind === "differs");
const slowest = (prompt) =>
  Math.max(0, ...Object.values(prompt.answers).flat().map((one) => one.e2e ?? (one.outcome ? Infinity : 0)));

const ORDERS = {
  differs: (a, b) => differing(b).length - differing(a).length,
  early: (a, b) =>
    Math.min(Infinity, ...differing(a).map((s) => s.at)) - Math.min(Infinity, ...differing(b).map((s) => s.at)) || 0,
  slow: (a, b) => (slowest(b) > slowest(a) ? 1 : slowest(b) < slowest(a) ? -1 : 0),
  id: (a, b) => a.id.localeCompare(b.id, "en", { numeric: true }),
};

/** List the prompts that match the form, in the chosen order. */
function select() {
  const words = $("search").value.trim().toLowerCase();
  const holds = FILTERS[$("filter").value];
  const of = $("filter-target").value;
  const every = $("filter").value === "same";
  matching = data.prompts.filter((prompt) => {
    if (words && !haystack(prompt).includes(words)) return false;
    if (of) return holds(prompt, of);
    return every ? names.every((t) => holds(prompt, t)) : names.some((t) => holds(prompt, t));
  });
  const order = ORDERS[$("order").value];
  if (order) matching.sort(order);
  list.replaceChildren();
  listed = 0;
  listMore(BATCH);
}

function listMore(count) {
  list.append(...matching.slice(listed, listed + count).map(row));
  listed = Math.min(matching.length, listed + count);
  const left = matching.length - listed;
  $("more").hidden = left === 0;
  $("more").textContent = `Show ${thousands(Math.min(BATCH, left))} more`;
  const all = matching.length === data.prompts.length ? "" : ` of ${thousands(data.prompts.length)}`;
  $("matching").textContent =
    `${thousands(matching.length)}${all} prompts${left ? `, the first ${thousands(listed)} listed` : ""}`;
}

function row(prompt) {
  const chips = [...statesOf(prompt)]
    .filter(([target]) => shownTargets.has(target))
    .map(([target, state]) =>
      make("span", { class: `state ${state.kind}`, title: `${target}: ${state.long}` }, dot(target),
        make("span", { "aria-hidden": "true" }, state.short),
        make("span", { class: "hear" }, `${target} ${state.long}. `)),
    );
  const details = make("details", { class: "prompt" },
    make("summary", {},
      make("bdi", { class: "id" }, prompt.id),
      make("bdi", { class: "excerpt" }, excerpt(prompt)),
      make("span", { class: "states" }, ...chips)));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(opened(prompt));
  });
  return details;
}

/** Return the prompt without the text that all prompts begin with. */
function excerpt(prompt) {
  return prompt.text.slice(common, common + 160).replace(/\s+/g, " ");
}

const common = (() => {
  const [first, ...rest] = data.prompts.slice(0, 50).map((prompt) => prompt.text);
  if (!rest.length) return 0;
  let length = first.length;
  for (const text of rest) {
    while (!text.startsWith(first.slice(0, length))) length -= 1;
  }
  return Math.max(first.lastIndexOf("\n", length - 1) + 1, 0);
})();

function opened(prompt) {
  return make("div", { class: "opened" },
    make("p", { class: "asked", dir: "auto" }, prompt.text),
    make("div", { class: "answers" },
      ...[reference, ...names.filter((target) => target !== reference)]
        .filter((target) => shownTargets.has(target) && prompt.answers[target]?.length)
        .map((target) => answerCard(prompt, target))));
}

function answerCard(prompt, target) {
  const [first, ...rest] = prompt.answers[target];
  const more = prompt.more?.[target];
  const state = statesOf(prompt).get(target);
  const kind = { differs: "differs", failed: "failed" }[state.kind] ?? "";
  return make("article", { class: "answer" },
    make("h3", {},
      make("span", { class: "target" }, dot(target), target),
      simulated.has(target) ? make("span", { class: "pill" }, "simulated") : null,
      make("span", { class: `outcome ${kind}` }, state.long)),
    ...answerParts(prompt, target, first),
    ...rest.map((one) => repetition(prompt, target, first, one)),
    more ? make("p", { class: "past" }, `records.jsonl has ${thousands(more)} more repetitions.`) : null);
}

function repetition(prompt, target, first, one) {
  const text = (answer) => (answer.same ? textOf(originalOf(prompt, answer)) : textOf(answer));
  const alike = !one.outcome && !first.outcome && text(one) === text(first);
  const title = `Repetition ${one.repetition + 1}${alike ? ": equal text" : ""}`;
  return make("div", { class: "again" }, make("b", {}, title),
    ...(alike ? [receiptOf(target, one)] : answerParts(prompt, target, one)));
}

function answerParts(prompt, target, answer) {
  const parts = [];
  if (answer.outcome) {
    const status = answer.status ? ` (${answer.status})` : "";
    const what = `${answer.error ?? answer.outcome}${status}${answer.message ? ": " : ""}`;
    parts.push(make("p", { class: "message" }, what, make("bdi", {}, answer.message ?? "")));
  }
  const text = make("p", { class: "answer-text", dir: "auto" });
  if (answer.diff) text.append(...diffParts(answer));
  else text.append(answer.same ? textOf(originalOf(prompt, answer)) : textOf(answer));
  if (text.textContent) parts.push(text);
  if (answer.past) {
    parts.push(make("p", { class: "past" }, "After the cut: ", make("bdi", {}, answer.past)));
  }
  parts.push(receiptOf(target, answer));
  return parts;
}

/** Return the answer with its differences from the reference marked. */
function diffParts(answer) {
  const parts = [];
  let parted = false;
  for (const [kind, text] of answer.diff) {
    if (kind !== 0 && !parted) {
      parted = true;
      const where = `first difference, after ${answer.at} tokens`;
      parts.push(make("span", { class: "fork", role: "img", "aria-label": where, title: where }));
    }
    parts.push(kind === 0 ? text : make(kind === 1 ? "del" : "ins", {}, text));
  }
  return parts;
}

function receiptOf(target, answer) {
  const said = [];
  const mark = simulated.has(target) ? "~" : "";
  if (answer.ttft !== undefined) said.push(`TTFT ${mark}${seconds(answer.ttft)}`);
  if (answer.e2e !== undefined) said.push(`E2E ${mark}${seconds(answer.e2e)}`);
  if (answer.tokens !== undefined) said.push(`${answer.estimated ? "about " : ""}${answer.tokens} tokens billed`);
  said.push(`finish reason ${answer.finish ?? "not reported"}`);
  if (answer.attempts) said.push(`${answer.attempts} attempts, waited ${seconds(answer.waited)}`);
  const route = answer.route ?? data.routes[target];
  if (route) said.push(`route ${route}`);
  if (answer.id) said.push(`request ${answer.id}`);
  return make("p", { class: "receipt" }, said.join(" · "));
}

function promptList() {
  let timer;
  $("prompt-controls").addEventListener("submit", (event) => event.preventDefault());
  $("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(select, 120);
  });
  for (const id of ["filter", "filter-target", "order"]) $(id).addEventListener("change", select);
  $("more").addEventListener("click", () => listMore(BATCH));
  whenShownChanges.push(select);
  select();
}
