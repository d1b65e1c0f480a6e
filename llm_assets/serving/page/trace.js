// Where an answer's words are in the training data, and which of them are also in a tool's result.

import { followAddress } from "./address.js";
import { getJson, postJson } from "./api.js";
import { documentAddress } from "./data_documents.js";
import { announce, button, clearProblem, copy, element, field, number, percent, showProblem } from "./dom.js";
import { NAMES, messageContent } from "./message.js";

const PLACES = 10; // shown of each match

export function createView(app) {
  return new Trace(app).node;
}

class Trace {
  constructor(app) {
    this.app = app;
    this.request = 0; // number of the newest one; answers to others are dropped
    this.answer = element("textarea", { name: "answer", rows: 4, placeholder: "Paste an answer" });
    this.results = element("textarea", { name: "results", rows: 2 });
    this.minimum = element("input", { type: "number", name: "minimum", min: 1, max: 1000, value: 6 });
    this.unbuilt = element("section", { class: "panel", "aria-label": "Index to build", hidden: true });
    this.text = element("div");
    this.matches = element("div");
    this.node = element(
      "div",
      {},
      element("h1", { class: "unseen" }, "Trace"),
      element(
        "p",
        { class: "soft" },
        "The longest runs of an answer’s words that stand verbatim in the pages and conversations that the assistant " +
          "was trained on. A match shows that the model has read these words, not that it copied them.",
      ),
      field("Answer", this.answer),
      field("Results of tools", this.results),
      element(
        "div",
        { class: "row" },
        button("Trace", () => this.trace(), { class: "primary" }),
        field("Shortest match, in tokens", this.minimum),
      ),
      this.unbuilt,
      this.text,
      this.matches,
    );
    followAddress("trace", () => this.takeOver());
  }

  // Traces the answer that another view hands over, as { answer, toolResults }.
  takeOver() {
    const handed = this.app.traced;
    if (!handed) return;
    this.app.traced = null;
    this.answer.value = handed.answer;
    this.results.value = handed.toolResults.join("\n");
    this.trace();
  }

  async trace() {
    const current = ++this.request;
    clearProblem();
    if (!this.minimum.checkValidity()) return showProblem(`Shortest match: ${this.minimum.validationMessage}`);
    const results = this.results.value.trim();
    const body = {
      answer: this.answer.value,
      tool_results: results ? [results] : [],
      minimum: Number(this.minimum.value),
      places: PLACES,
    };
    try {
      const trace = await postJson("api/trace", body);
      if (current === this.request) this.draw(trace);
    } catch (error) {
      if (current !== this.request) return;
      const command = error.code === "not_built" ? /run: (.*)$/.exec(error.message)?.[1] : null;
      if (command) this.offerBuild(command);
      else showProblem(error);
    }
  }

  // Says how to build the index, which a run of the whole pipeline leaves out.
  offerBuild(command) {
    const title = element("h2", { tabindex: "-1" }, "The index is not built yet");
    this.text.replaceChildren();
    this.matches.replaceChildren();
    this.unbuilt.hidden = false;
    this.unbuilt.replaceChildren(
      title,
      element(
        "p",
        {},
        "A trace needs an index of the training data, which is built only on demand. Run this command where the " +
          "server runs, and trace again:",
      ),
      element("pre", { class: "source" }, command),
      element(
        "div",
        { class: "row" },
        button("Copy command", () => copy(command)),
        button("Trace again", () => this.trace(), { class: "primary" }),
      ),
    );
    title.focus();
  }

  draw(trace) {
    const { spans, tokens, seconds } = trace;
    const text = `${number(tokens)} tokens, ${number(spans.length)} matches, ${number(seconds, 2)} s`;
    this.unbuilt.hidden = true;
    const items = spans.map((span, place) => element("li", { id: `match-${place}`, tabindex: "-1" }, ...match(span)));
    this.text.replaceChildren(
      element("h2", {}, "The answer"),
      markedAnswer(trace, (place) => this.choose(place)),
      this.legend(trace),
    );
    this.matches.replaceChildren(
      element("h2", {}, "Matches, the most improbable first"),
      element("p", { class: "soft" }, text),
      trace.stale ? element("p", { class: "panel" }, trace.stale) : "",
      spans.length ? element("ol", { class: "matches" }, ...items) : element("p", {}, "Nothing is found verbatim."),
    );
    announce(text);
  }

  // What the answer's characters owe to the training data and to tools.
  legend({ answer, spans, tool_runs: toolRuns }) {
    const { length } = [...answer];
    const isTrained = covered(length, spans.map((span) => span.characters));
    const isFromTool = covered(length, toolRuns);
    const share = (test) => {
      const places = isTrained.filter((trained, place) => test(trained, isFromTool[place]));
      return places.length ? percent(places.length / length) : "0 %";
    };
    const kinds = [
      ["learned", "only in the training data", (trained, fromTool) => trained && !fromTool],
      ["learned from-tool", "in both, so perhaps copied from the tool", (trained, fromTool) => trained && fromTool],
      ["from-tool", "only in a tool’s result", (trained, fromTool) => !trained && fromTool],
      ["", "in neither", (trained, fromTool) => !trained && !fromTool],
    ];
    const items = kinds.map(([kind, text, test]) =>
      element("li", {}, element("span", { class: kind }, share(test)), ` of the characters are ${text}.`),
    );
    return element("ul", { class: "legend" }, ...items);
  }

  choose(place) {
    const item = document.getElementById(`match-${place}`);
    item.scrollIntoView({ block: "nearest" });
    item.focus();
  }
}

// The answer's text. Where it matches, it leads to the best match there; what is in a tool's result is underlined.
function markedAnswer({ answer, spans, tool_runs: toolRuns }, choose) {
  const characters = [...answer]; // places count characters, not UTF-16 units
  const isFromTool = covered(characters.length, toolRuns);
  const best = characters.map((_, place) =>
    spans.findIndex(({ characters: [start, end] }) => start <= place && place < end),
  );
  const node = element("p", { class: "traced" });
  let start = 0;
  for (let end = 1; end <= characters.length; end++) {
    if (end < characters.length && best[end] === best[start] && isFromTool[end] === isFromTool[start]) continue;
    const text = characters.slice(start, end).join("");
    const fromTool = isFromTool[start] ? " from-tool" : "";
    const place = best[start];
    if (place < 0) node.append(element("span", { class: fromTool.trim() || null }, text));
    else node.append(matchedText(text, fromTool, place, choose));
    start = end;
  }
  return node;
}

// A part of the answer that leads to its match. A button would not break across lines.
function matchedText(text, fromTool, place, choose) {
  const title = `Match ${place + 1}${fromTool ? ", also in a tool’s result" : ""}`;
  const onclick = () => choose(place);
  const properties = { class: `learned${fromTool}`, role: "button", tabindex: "0", title, onclick };
  const node = element("span", properties, text);
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose(place);
  });
  return node;
}

// For each of so many places, whether it is in one of the runs, as [start, end).
function covered(length, runs) {
  const marks = new Array(length).fill(false);
  for (const [start, end] of runs) marks.fill(true, start, end);
  return marks;
}

function match(span) {
  const details = [`${number(span.end - span.start)} tokens`, `${number(span.bits)} bits`];
  const nodes = [
    element("p", {}, element("q", {}, span.text.trim())),
    element(
      "p",
      { class: "soft" },
      details.join(", "),
      span.from_tool ? element("span", { class: "from-tool" }, " also in a tool’s result") : null,
    ),
  ];
  if (span.page_count) nodes.push(element("h3", {}, counted(span.page_count, "training page")), pages(span.pages));
  if (span.conversation_count) {
    const text = span.text.trim();
    nodes.push(
      element("h3", {}, counted(span.conversation_count, "conversation")),
      element("ul", {}, ...span.conversations.map((place) => element("li", {}, conversation(place, text)))),
    );
  }
  return nodes;
}

function counted(count, name) {
  const shown = count > PLACES ? `, of which ${PLACES} are shown` : "";
  return `${number(count)} ${name}${count === 1 ? "" : "s"}${shown}`;
}

function pages(places) {
  const items = places.map((place) => {
    const where = `${place.crawl}, ${place.warc_file}, offset ${number(place.warc_offset)}`;
    const link = element("a", { href: documentAddress(place) }, place.url);
    return element("li", {}, link, element("span", { class: "soft" }, ` ${where}; token ${number(place.position)}`));
  });
  return element("ul", {}, ...items);
}

// A conversation that is read when it is opened.
function conversation({ conversation: id, sources, speaker }, text) {
  const summary = `Conversation ${number(id)}, ${JSON.parse(sources).join(", ")}: the ${speaker}’s words`;
  const list = element("ol", { class: "messages" });
  const node = element("details", {}, element("summary", {}, summary), list);
  node.addEventListener("toggle", async () => {
    if (!node.open || list.children.length) return;
    try {
      const { messages } = await getJson(`api/trace/conversation?number=${id}`);
      list.replaceChildren(...messages.map((message) => messageItem(message, text)));
    } catch (error) {
      showProblem(error);
    }
  });
  return node;
}

function messageItem(message, text) {
  const content = messageContent(message);
  for (const paragraph of content.querySelectorAll("p:not(.call), pre")) {
    const pieces = paragraph.textContent.split(text);
    if (!text || pieces.length < 2) continue;
    const marked = pieces.flatMap((piece, place) => (place ? [element("mark", {}, text), piece] : [piece]));
    paragraph.replaceChildren(...marked);
  }
  const name = NAMES[message.role] ?? message.role;
  return element("li", { class: `message ${message.role}` }, element("h4", {}, name), content);
}
