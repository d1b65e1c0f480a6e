// Votes on two answers: the labeller's name, and the buttons with their keys. Shared by Rank and the arena.

import { button, element, field } from "./dom.js";

const NAME = "llm-assets-labeller";
const PATTERN = "[A-Za-z0-9_][A-Za-z0-9_.\\-]{0,63}";
const VOTES = [
  { vote: "first", key: "1", label: "First is better" },
  { vote: "second", key: "2", label: "Second is better" },
  { vote: "tie", key: "t", label: "Tie" },
  { vote: "both_bad", key: "b", label: "Both bad" },
];

// A field for the labeller's name, which this browser remembers. read() throws an error for a name that is none.
export function labellerField() {
  const hint = "Letters, digits, “_”, “-” and “.”";
  const input = element("input", { name: "labeller", pattern: PATTERN, maxlength: 64, required: true, title: hint });
  input.value = localStorage.getItem(NAME) ?? "";
  input.addEventListener("change", () => {
    if (input.checkValidity()) localStorage.setItem(NAME, input.value);
  });
  return {
    node: field("Your name", input),
    input,
    read() {
      if (input.checkValidity()) return input.value;
      input.focus();
      throw new Error(`Your name: ${input.value ? hint : "votes are stored under it, so it cannot be empty"}.`);
    },
  };
}

// Two answers with the buttons of a vote. onvote(vote) is called with first, second, tie or both_bad; others: further
// buttons, as {key, label, run}. Keys work while the focus is on the answers or their buttons.
export function votePanel(question, first, second, onvote, others = []) {
  const actions = [
    ...VOTES.map(({ vote, key, label }) => ({ key, label, run: () => onvote(vote) })),
    ...others,
  ];
  const buttons = actions.map(({ key, label, run }) =>
    button("", run, { "aria-keyshortcuts": key, "data-key": key }),
  );
  buttons.forEach((node, place) => node.append(actions[place].label, " ", element("kbd", {}, actions[place].key)));
  const node = element(
    "section",
    { class: "votes", tabindex: "-1", "aria-label": "Answers to compare" },
    element("h2", {}, question),
    element("div", { class: "columns" }, answer("First", first), answer("Second", second)),
    element("div", { class: "row" }, ...buttons),
  );
  node.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const place = actions.findIndex(({ key }) => key === event.key.toLowerCase());
    if (place < 0 || buttons[place].disabled) return;
    event.preventDefault();
    actions[place].run();
  });
  return {
    node,
    disable: () => buttons.forEach((each) => (each.disabled = true)),
    enable: () => buttons.forEach((each) => (each.disabled = false)),
  };
}

function answer(name, text) {
  return element("article", { class: "panel" }, element("h3", {}, name), element("p", { class: "text" }, text));
}
