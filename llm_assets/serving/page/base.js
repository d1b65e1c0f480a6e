// A document that the model continues: every token with its alternatives, from each of which it can continue.

import { isStop, postStream } from "./api.js";
import { announce, button, clearProblem, copy, element, field, number, percent, showProblem } from "./dom.js";
import { samplingSettings } from "./settings.js";
import { bar, table } from "./table.js";
import { choosableStrip, quoted, textOf, visible } from "./token_strip.js";

const MOST_BITS = 10; // of entropy or surprise, at which the colour is strongest
const COLOURS = {
  entropy: { label: "Entropy", bits: (token) => token.entropy },
  surprise: { label: "Surprise", bits: (token) => -Math.log2(token.probability) },
  none: { label: "None", bits: () => 0 },
};

export function createView(app) {
  return new Base(app).node;
}

// Tokens have, besides the server's fields, `author`: "text" for the user's, "model", or "chosen" for an alternative.
class Base {
  constructor(app) {
    this.app = app;
    this.tokens = [];
    this.stopper = null;
    this.build();
    app.addEventListener("model", () => this.restart());
  }

  build() {
    this.input = element("textarea", { rows: 4, name: "document" });
    this.input.value = "In the evening";
    this.sampling = samplingSettings(this.app, { temperature: 1, max_tokens: 60 });
    this.strip = choosableStrip({
      label: "The document’s tokens",
      describe: (token) => this.describe(token),
      decorate: (chip, token) => this.decorate(chip, token),
      pick: (place) => this.showAlternatives(place),
    });
    this.alternatives = element("section", { class: "panel alternatives", "aria-label": "Alternatives" });
    this.alternatives.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.strip.focus(this.picked);
    });
    this.count = element("p", { class: "soft" });
    this.node = element(
      "div",
      { class: "with-side" },
      element(
        "section",
        { "aria-label": "Document" },
        element("h1", { class: "unseen" }, "Base model"),
        field("Beginning of the document", this.input),
        this.buttons(),
        this.legend(),
        this.strip.node,
        this.count,
      ),
      element("aside", { "aria-label": "Alternatives and settings" }, this.alternatives, this.sampling.node),
    );
    this.restart();
  }

  buttons() {
    this.writeButton = button("Write", () => this.write(), { class: "primary" });
    this.moreButton = button("Continue", () => this.more(), { disabled: true });
    this.stopButton = button("Stop", () => this.stopper?.abort(), { hidden: true });
    const copyButton = button("Copy text", () => copy(textOf(this.tokens)));
    return element("div", { class: "row" }, this.writeButton, this.moreButton, this.stopButton, copyButton);
  }

  legend() {
    const options = Object.entries(COLOURS).map(([name, { label }]) => element("option", { value: name }, label));
    this.colour = element("select", { name: "colour" }, ...options);
    this.colour.addEventListener("change", () => {
      [...this.strip.node.children].forEach((chip, place) => this.decorate(chip, this.tokens[place]));
    });
    return element(
      "p",
      { class: "row soft" },
      field("Colour", this.colour),
      element("span", {}, "0 bits ", element("span", { class: "scale" }), ` ${MOST_BITS} bits or more. `),
      element("span", {}, element("span", { class: "written" }, "Underlined"), " tokens are the model’s."),
    );
  }

  describe(token) {
    if (token.probability === undefined) return `${quoted(token)}, begins every document`;
    return `${quoted(token)}, probability ${percent(token.probability)}, entropy ${number(token.entropy, 1)} bits`;
  }

  decorate(chip, token) {
    const bits = token.probability === undefined ? 0 : COLOURS[this.colour.value].bits(token);
    chip.classList.add("heat");
    chip.classList.toggle("written", token.author !== "text");
    chip.style.setProperty("--heat", Math.min(1, bits / MOST_BITS).toFixed(3));
  }

  restart() {
    this.stopper?.abort();
    this.clear();
  }

  clear() {
    this.tokens = [];
    this.strip.clear();
    this.moreButton.disabled = true;
    this.count.textContent = "";
    this.alternatives.replaceChildren(
      element("h2", {}, "Alternatives"),
      element("p", { class: "soft" }, "Choose a token to see the ten most probable ones at its place."),
    );
  }

  // Sampling

  write() {
    return this.stream(this.input.value, []);
  }

  more() {
    return this.stream(this.ids(this.tokens.length), this.tokens.map((token) => token.author));
  }

  continueFrom(place, alternative) {
    const authors = [...this.tokens.slice(0, place).map((token) => token.author), "chosen"];
    return this.stream([...this.ids(place), alternative.id], authors);
  }

  ids(end) {
    return this.tokens.slice(0, end).map((token) => token.id);
  }

  // Shows the tokens of a prompt, a text or ids, and those that the model adds. authors: of ids.
  async stream(prompt, authors) {
    clearProblem();
    this.stopper?.abort();
    const stopper = new AbortController();
    try {
      const body = { ...this.sampling.read(), model: this.app.model.id, prompt };
      let isPrompt = true;
      this.begin(stopper);
      for await (const chunk of postStream("api/continue", body, stopper.signal)) {
        if (isPrompt) this.showPrompt(chunk.tokens, authors);
        else this.add(chunk.tokens.map((token) => ({ ...token, author: "model" })));
        isPrompt = false;
        if (chunk.finish_reason === "stop") announce("The document has ended.");
      }
    } catch (error) {
      if (!isStop(error)) showProblem(error);
    }
    if (this.stopper === stopper) this.end();
  }

  begin(stopper) {
    this.stopper = stopper;
    this.stopButton.hidden = false;
    this.writeButton.disabled = this.moreButton.disabled = true;
    announce("The model is writing.");
  }

  // Shows a prompt in place of what was there.
  showPrompt(tokens, authors) {
    this.clear();
    this.add(tokens.map((token, place) => ({ ...token, author: authors[place] ?? "text" })));
    if (authors.at(-1) === "chosen") this.strip.focus(authors.length - 1); // its button is gone
  }

  add(tokens) {
    this.tokens.push(...tokens);
    this.strip.add(tokens);
    const context = number(this.app.model.context);
    this.count.textContent = `${number(this.tokens.length)} of ${context} tokens of the context.`;
  }

  end() {
    this.stopper = null;
    this.stopButton.hidden = true;
    this.writeButton.disabled = false;
    this.moreButton.disabled = !this.tokens.length;
    announce("The model has stopped writing.");
  }

  // Alternatives

  showAlternatives(place) {
    this.picked = place;
    const token = this.tokens[place];
    const content = token.alternatives
      ? [this.facts(token), this.table(token, place)]
      : [element("p", {}, "Every document begins with this token, so it has no alternatives.")];
    const title = `Alternatives to ${quoted(token)}`;
    this.alternatives.replaceChildren(element("h2", {}, title), ...content);
    this.alternatives.scrollIntoView({ block: "nearest" }); // it is below the document on a narrow screen
    announce(`${title}: ${content[0].textContent}`);
  }

  facts(token) {
    const text = `Probability ${percent(token.probability)}; entropy ${number(token.entropy, 2)} bits.`;
    return element("p", { class: "soft" }, text);
  }

  table(token, place) {
    const columns = [{ title: "Continue from" }, { title: "Probability", numeric: true }, { plot: true }];
    const rows = token.alternatives.map((alternative) => [
      this.alternativeButton(alternative, place),
      percent(alternative.probability),
      bar(alternative.probability),
    ]);
    return table("The ten most probable tokens", columns, rows, (row) => token.alternatives[row].id === token.id);
  }

  alternativeButton(alternative, place) {
    if (alternative.special) return element("span", { class: "token special" }, visible(alternative));
    const label = `Continue from ${quoted(alternative)}`;
    return button(visible(alternative), () => this.continueFrom(place, alternative), {
      class: "token",
      "aria-label": label,
    });
  }
}
