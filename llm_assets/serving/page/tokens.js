// A text as bits, bytes and tokens, in the model's tokenizer and in published ones, and the merges that make a token.

import { postJson } from "./api.js";
import { announce, clearProblem, element, field, number, showProblem } from "./dom.js";
import { bar, table } from "./table.js";
import { choosableStrip, quoted, visible } from "./token_strip.js";

const PAUSE = 250; // milliseconds without typing after which the text is tokenised
const SHOWN_CHARACTERS = 200; // as bits and bytes
const SHOWN_TOKENS = 4000;
const MARKS = { " ": "␣", "\n": "↵", "\t": "⇥" };
const EXAMPLE = "The lighthouse keeper counted 1,024 gulls. Äpfel, 東京, 🎻";

export function createView(app) {
  return new Tokens(app).node;
}

class Tokens {
  constructor(app) {
    this.app = app;
    this.request = 0; // number of the newest one; answers to others are dropped
    this.input = element("textarea", { rows: 4, name: "text", maxlength: 20000 });
    this.input.value = EXAMPLE;
    let timer = null;
    this.input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.refresh(), PAUSE);
    });
    this.result = element("div");
    this.merges = element("section", { class: "panel", "aria-label": "Merges" });
    this.node = element(
      "div",
      { class: "with-side" },
      element(
        "section",
        { "aria-label": "Text and its tokens" },
        element("h1", { class: "unseen" }, "Tokens"),
        field("Text", this.input),
        this.result,
      ),
      element("aside", { "aria-label": "Merges of a token" }, this.merges),
    );
    app.addEventListener("model", () => this.refresh());
    this.refresh();
  }

  async refresh() {
    const current = ++this.request;
    this.merges.replaceChildren(
      element("h2", {}, "Merges"),
      element("p", { class: "soft" }, "Choose a token to see the merges of byte pairs that make it."),
    );
    try {
      const body = await postJson("api/tokenize", { model: this.app.model.id, text: this.input.value });
      if (current !== this.request) return;
      clearProblem();
      this.draw(body);
    } catch (error) {
      showProblem(error);
    }
  }

  draw({ characters, bytes, encodings }) {
    const missing = encodings.length < 4;
    const hint = "gpt2, cl100k_base and o200k_base are shown if their ranks are in the cache of tiktoken.";
    this.result.replaceChildren(
      this.bytes(characters, bytes),
      element("h2", {}, "Tokens"),
      this.table(bytes, encodings),
      missing ? element("p", { class: "soft" }, hint) : "",
      ...encodings.map((encoding) => this.encoding(encoding)),
    );
    announce(`${number(bytes)} bytes, ${number(encodings[0].tokens.length)} tokens`);
  }

  // Characters with their bytes in hexadecimal and as bits.
  bytes(characters, bytes) {
    const all = [...this.input.value];
    const encoder = new TextEncoder();
    const items = all.slice(0, SHOWN_CHARACTERS).map((character) => {
      const values = [...encoder.encode(character)];
      return element(
        "li",
        {},
        element("span", { class: "character" }, MARKS[character] ?? character),
        element("code", {}, values.map((value) => value.toString(16).padStart(2, "0")).join(" ")),
        element("code", { class: "bits" }, values.map((value) => value.toString(2).padStart(8, "0")).join(" ")),
      );
    });
    const rest = all.length > SHOWN_CHARACTERS ? `; the first ${SHOWN_CHARACTERS} characters are shown` : "";
    const count = `${number(characters)} characters, ${number(bytes)} bytes, ${number(8 * bytes)} bits${rest}.`;
    return element(
      "section",
      { "aria-label": "Bits and bytes" },
      element("h2", {}, "Bits and bytes"),
      element("p", { class: "soft" }, count),
      element("ul", { class: "bytes", tabindex: "0", "aria-label": "Characters with their bytes and bits" }, ...items),
    );
  }

  table(bytes, encodings) {
    const most = Math.max(1, ...encodings.map(({ tokens }) => tokens.length));
    const numbers = ["Byte-pair tokens", "Bytes per token", "Tokens"];
    const columns = [
      { title: "Tokenizer", heads: true, breakable: true },
      ...numbers.map((title) => ({ title, numeric: true })),
      { plot: true },
    ];
    const rows = encodings.map((encoding) => {
      const count = encoding.tokens.length;
      const density = count ? number(bytes / count, 2) : "–";
      return [this.name(encoding), number(encoding.vocabulary), density, number(count), bar(count / most)];
    });
    return table("Tokenizers", columns, rows);
  }

  name(encoding) {
    return encoding.published ?? this.app.model.id;
  }

  encoding(encoding) {
    const strip = choosableStrip({
      label: `Tokens of ${this.name(encoding)}`,
      describe: (token) => `${quoted(token)}, id ${token.id}`,
      decorate: (chip, token) => (chip.title = `id ${token.id}`),
      pick: (place) => this.showMerges(encoding, encoding.tokens[place]),
    });
    strip.add(encoding.tokens.slice(0, SHOWN_TOKENS));
    const rest = encoding.tokens.length - SHOWN_TOKENS;
    return element(
      "section",
      { "aria-label": this.name(encoding) },
      element("h3", {}, this.name(encoding)),
      strip.node,
      rest > 0 ? element("p", { class: "soft" }, `${number(rest)} more tokens are not shown.`) : "",
    );
  }

  async showMerges(encoding, token) {
    const source = encoding.published ? { encoding: encoding.published } : { model: this.app.model.id };
    try {
      const { steps } = await postJson("api/merges", { ...source, id: token.id });
      this.drawMerges(encoding, token, steps);
    } catch (error) {
      showProblem(error);
    }
  }

  drawMerges(encoding, token, steps) {
    const items = steps.map((parts) =>
      element(
        "li",
        {},
        ...parts.map((part, place) =>
          element("span", { class: `token colour${place % 5}`, title: `id ${part.id}` }, visible(part)),
        ),
      ),
    );
    const merges = steps.length - 1;
    const text = merges ? `${number(merges)} ${merges === 1 ? "merge" : "merges"}` : "no merges";
    this.merges.replaceChildren(
      element("h2", {}, `Merges of ${quoted(token)}`),
      element("p", { class: "soft" }, `${this.name(encoding)}, id ${token.id}: ${text}.`),
      element("ol", { class: "merges" }, ...items),
    );
    this.merges.scrollIntoView({ block: "nearest" }); // it is below the text on a narrow screen
    announce(`Merges of ${quoted(token)}: ${items.length}`);
  }
}
