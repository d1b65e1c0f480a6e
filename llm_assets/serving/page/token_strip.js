// Tokens as chips. A chip's text is what the token adds to the text; line breaks are made visible.

import { element } from "./dom.js";

const COLOURS = 5;

export function visible(token) {
  return token.token.replaceAll("\n", "↵\n").replaceAll("\t", "⇥\t");
}

// A token's text within a sentence, for labels.
export function quoted(token) {
  return `“${token.token.replaceAll("\n", "↵")}”`;
}

// The bytes of tokens as text. A token that is not whole characters brings its bytes.
export function textOf(tokens) {
  const encoder = new TextEncoder();
  const texts = tokens.filter((token) => !token.special);
  const parts = texts.map((token) => token.bytes ?? [...encoder.encode(token.token)]);
  return new TextDecoder().decode(new Uint8Array(parts.flat()));
}

function chipClass(token, place) {
  return token.special ? "token special" : `token colour${place % COLOURS}`;
}

// Chips that can only be read. The trained ones of a conversation are within <mark>.
export function readOnlyStrip(tokens) {
  const strip = element("p", { class: "strip" });
  let run = null;
  tokens.forEach((token, place) => {
    const chip = element("span", { class: chipClass(token, place), title: `id ${token.id}` }, visible(token));
    if (!token.trained) run = null;
    else if (!run) strip.append((run = element("mark", { class: "trained" })));
    (run ?? strip).append(chip);
  });
  return strip;
}

// Chips to choose from, by click, or with arrow keys and Enter. label: of the whole. describe: the name of a chip.
// decorate: changes a chip. pick: called with the place of the chosen token.
export function choosableStrip({ label, describe, decorate = () => {}, pick }) {
  const node = element("div", { class: "strip", role: "group", "aria-label": label });
  let current = 0;

  const focus = (place) => {
    const chips = node.children;
    if (!chips.length) return;
    chips[current]?.setAttribute("tabindex", "-1");
    current = Math.max(0, Math.min(place, chips.length - 1));
    chips[current].setAttribute("tabindex", "0");
    chips[current].focus();
  };
  node.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    focus(current + steps[event.key]);
  });
  node.addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    const place = [...node.children].indexOf(chip);
    focus(place);
    mark(place);
    pick(place);
  });

  const mark = (place) => {
    for (const chip of node.querySelectorAll("[aria-pressed=true]")) chip.setAttribute("aria-pressed", "false");
    node.children[place]?.setAttribute("aria-pressed", "true");
  };

  return {
    node,
    focus,
    clear() {
      node.replaceChildren();
      current = 0;
    },
    add(tokens) {
      const first = node.children.length;
      node.append(
        ...tokens.map((token, offset) => {
          const place = first + offset;
          const properties = {
            type: "button",
            class: chipClass(token, place),
            tabindex: place === current ? "0" : "-1",
            "aria-pressed": "false",
            "aria-label": describe(token, place),
          };
          const chip = element("button", properties, visible(token));
          decorate(chip, token, place);
          return chip;
        }),
      );
    },
  };
}
