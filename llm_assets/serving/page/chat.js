// Chat with a model: answers as they are written, tools, and the conversation as the model's tokens.

import { isStop, postJson } from "./api.js";
import {
  fromJson,
  removeEmptyEnd,
  removeLastAnswer,
  streamAnswer,
  toJson,
  wholeConversation,
} from "./conversation.js";
import {
  announce,
  button,
  clearProblem,
  copy,
  download,
  element,
  field,
  keepFocus,
  number,
  showProblem,
} from "./dom.js";
import { NAMES, messageContent } from "./message.js";
import { samplingSettings } from "./settings.js";
import { readOnlyStrip } from "./token_strip.js";

const ANNOUNCED = 500; // characters of an answer's end that screen readers read
const NEAR = 40; // pixels below the screen within which the end of the conversation is still in view

export function createView(app) {
  return new Chat(app).node;
}

class Chat {
  constructor(app) {
    this.app = app;
    this.messages = [];
    this.stopper = null; // aborts the answer that is being written
    this.edited = null; // the place of the message that is being edited
    this.build();
    for (const event of ["model", "models"]) app.addEventListener(event, () => this.useModel());
    this.useModel();
  }

  // The view

  build() {
    this.list = element("ol", { class: "messages", "aria-label": "Conversation" });
    this.input = element("textarea", { rows: 2, name: "message", placeholder: "Write a message" });
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.send();
    });
    this.sendButton = button("Send", () => this.send(), { class: "primary" });
    this.stopButton = button("Stop", () => this.stopper?.abort(), { hidden: true });
    this.hint = element("p", { class: "soft" });
    this.tokens = element("section", { class: "panel", "aria-label": "The conversation as tokens", hidden: true });
    this.tokensButton = button("Show tokens", () => this.toggleTokens(), { "aria-expanded": "false" });
    this.node = element(
      "div",
      { class: "with-side" },
      element(
        "section",
        { "aria-label": "Chat" },
        element("h1", { class: "unseen" }, "Chat"),
        this.list,
        this.hint,
        field("Message", this.input),
        element("div", { class: "row" }, this.sendButton, this.stopButton, this.tokensButton, ...this.fileButtons()),
        this.tokens,
      ),
      this.side(),
    );
  }

  side() {
    this.system = element("textarea", { rows: 3, name: "system" });
    this.sampling = samplingSettings(this.app);
    this.tools = element("fieldset", { class: "settings" });
    return element(
      "aside",
      { "aria-label": "Settings" },
      field("System prompt", this.system),
      this.tools,
      this.sampling.node,
    );
  }

  fileButtons() {
    const file = element("input", { type: "file", accept: ".json,application/json", class: "unseen", tabindex: "-1" });
    file.setAttribute("aria-label", "Conversation to open");
    file.addEventListener("change", async () => {
      const [chosen] = file.files;
      file.value = "";
      if (chosen) this.open(await chosen.text());
    });
    return [
      button("Save JSON", () => this.withSettings((text) => download("conversation.json", text))),
      button("Copy JSON", () => this.withSettings(copy)),
      button("Open JSON", () => file.click()),
      file,
      button("New", () => this.restart([])),
    ];
  }

  useModel() {
    const { chat, tools, id } = this.app.model;
    this.hint.textContent = chat
      ? "Enter sends, Shift+Enter begins a new line."
      : `${id} has not been trained on conversations: choose a chat model, or continue a document in Base model.`;
    this.sendButton.disabled = !chat;
    const unticked = [...this.tools.querySelectorAll("input:not(:checked)")].map(({ name }) => name);
    const boxes = tools.map((name) => element("input", { type: "checkbox", name, checked: !unticked.includes(name) }));
    this.tools.replaceChildren(
      element("legend", {}, "Tools"),
      ...boxes.map((box) => element("label", {}, box, ` ${box.name}`)),
      ...(tools.length ? [] : [element("p", { class: "soft" }, "The model calls no tools that this server runs.")]),
    );
    this.refreshTokens();
  }

  offeredTools() {
    return [...this.tools.querySelectorAll("input:checked")].map((box) => box.name);
  }

  // Messages

  draw() {
    this.list.replaceChildren(...this.messages.map((message, place) => this.item(message, place)));
  }

  item(message, place) {
    const content = place === this.edited ? this.editor(message, place) : messageContent(message);
    const item = element("li", { class: `message ${message.role}` });
    item.append(element("h2", {}, NAMES[message.role]), content);
    if (!this.stopper && place !== this.edited) item.append(this.actions(message, place));
    return item;
  }

  // While a message is edited, the others have no action that would lose the edit.
  actions(message, place) {
    const row = element("div", { class: "row actions" });
    row.append(button("Copy", () => copy(message.content)));
    if (message.role === "assistant") row.append(button("Trace", () => this.trace(place)));
    if (this.edited !== null) return row;
    if (message.role !== "tool") row.append(button("Edit", () => this.edit(place)));
    if (message.role === "user") row.append(button("Delete", () => this.delete(place)));
    if (place === this.messages.length - 1) row.append(button("Regenerate", () => this.regenerate()));
    return row;
  }

  // Deletes a question with its answer.
  delete(place) {
    const next = this.messages.findIndex(({ role }, other) => other > place && ["user", "system"].includes(role));
    this.messages.splice(place, (next < 0 ? this.messages.length : next) - place);
    clearProblem();
    this.draw();
    this.focusButton(Math.min(place, this.messages.length - 1), "Delete");
    announce("The question and its answer are deleted.");
    this.refreshTokens();
  }

  // Hands an answer over to the view Trace, with the results of tools since the last question.
  trace(place) {
    const asked = this.messages.findLastIndex((message, other) => other < place && message.role === "user");
    const results = this.messages.slice(asked + 1, place).filter((message) => message.role === "tool");
    this.app.traced = { answer: this.messages[place].content, toolResults: results.map(({ content }) => content) };
    location.hash = "#trace";
  }

  edit(place) {
    this.edited = place;
    this.draw();
    this.list.children[place].querySelector("textarea").focus();
  }

  editor(message, place) {
    const input = element("textarea", { rows: 3, "aria-label": "New text" });
    input.value = message.content;
    const finish = () => {
      this.edited = null;
      this.draw();
      this.focusButton(place, "Edit");
    };
    const save = () => {
      if (!input.value.trim()) return showProblem(new Error("A message cannot be empty."));
      message.content = input.value;
      finish();
      if (message.role === "assistant") return this.refreshTokens();
      this.messages.length = place + 1;
      return this.answer();
    };
    const saveName = message.role === "user" ? "Save and answer" : "Save";
    const saveButton = button(saveName, save, { class: "primary" });
    return element("div", {}, input, element("div", { class: "row" }, saveButton, button("Cancel", finish)));
  }

  // Moves a focus that was lost to a button of a message, or else to where the next message is written.
  focusButton(place, name) {
    const buttons = [...(this.list.children[place]?.querySelectorAll(".actions button") ?? [])];
    keepFocus(buttons.find((each) => each.textContent === name) ?? this.input);
  }

  // Answers

  send() {
    const text = this.input.value;
    if (!text.trim() || this.stopper || this.sendButton.disabled) return;
    if (this.edited !== null) {
      showProblem(new Error("A message is being edited: save the edit or cancel it, and send again."));
      return;
    }
    if (this.messages.length && this.messages.at(-1).role !== "assistant") {
      showProblem(new Error("The last message has no answer yet: regenerate it, edit it, or delete it."));
      return;
    }
    this.input.value = "";
    this.messages.push({ role: "user", content: text });
    this.answer();
  }

  regenerate() {
    removeLastAnswer(this.messages);
    if (this.messages.length) this.answer();
  }

  request() {
    const tools = this.offeredTools().map((type) => ({ type }));
    return {
      ...this.sampling.read(),
      model: this.app.model.id,
      messages: wholeConversation(this.system.value, this.messages),
      ...(tools.length ? { tools } : {}),
    };
  }

  async answer() {
    clearProblem();
    let finished = null;
    try {
      const request = structuredClone(this.request());
      this.begin();
      for await (const { message, finish } of streamAnswer(this.messages, request, this.stopper.signal)) {
        this.grow(message);
        finished = finish ?? finished;
      }
    } catch (error) {
      if (!isStop(error)) showProblem(this.explained(error));
    }
    removeEmptyEnd(this.messages);
    if (finished && this.messages.at(-1)?.role !== "assistant") {
      showProblem(new Error("The model ended its answer without text. Regenerate it."));
    }
    this.end(finished);
  }

  // An error with what can be done about a conversation that fills the context.
  explained(error) {
    if (error.code !== "context_length_exceeded") return error;
    const questions = this.messages.filter(({ role }) => role === "user").length;
    const advice =
      questions > 1
        ? "Delete earlier questions with their answers, or shorten the last one with Edit, and regenerate; or use New."
        : "Shorten your message with Edit, or the system prompt.";
    return new Error(`${error.message}. ${advice}`);
  }

  begin() {
    this.edited = null;
    this.stopper = new AbortController();
    this.stopButton.hidden = false;
    this.sendButton.hidden = true;
    this.draw();
    keepFocus(this.stopButton);
    announce("The answer is being written.");
  }

  // Shows what has been added at the end of the conversation, which stays in view unless the reader has left it.
  grow(message) {
    const below = () => this.list.getBoundingClientRect().bottom - innerHeight;
    const isAtEnd = below() < NEAR;
    const drawn = this.list.children.length;
    if (drawn < this.messages.length) this.draw();
    else if (message) this.list.lastElementChild.replaceChildren(...this.item(message, drawn - 1).childNodes);
    if (isAtEnd && below() > 0) scrollBy(0, below());
  }

  end(finished) {
    this.stopper = null;
    this.stopButton.hidden = true;
    this.sendButton.hidden = false;
    this.draw();
    this.focusButton(this.messages.length - 1, "Regenerate");
    const text = this.messages.at(-1)?.content ?? "";
    const end = text.length > ANNOUNCED ? `… ${text.slice(-ANNOUNCED)}` : text;
    announce(`${finished ? "The answer is complete" : "The answer was stopped"}: ${end}`);
    const model = this.app.model;
    if (model.chat) {
      this.hint.textContent =
        finished === "length"
          ? `The answer was cut: it reached the most tokens, or the end of the context (${number(model.context)}).`
          : "Enter sends, Shift+Enter begins a new line.";
    }
    this.refreshTokens();
  }

  restart(messages) {
    this.stopper?.abort();
    this.edited = null;
    this.messages = messages;
    clearProblem();
    this.draw();
    this.refreshTokens();
  }

  // Files

  withSettings(use) {
    try {
      const settings = { ...this.sampling.read(), tools: this.offeredTools() };
      use(toJson(this.app.model.id, settings, wholeConversation(this.system.value, this.messages)));
    } catch (error) {
      showProblem(error);
    }
  }

  open(text) {
    try {
      const { model, settings, system, messages } = fromJson(text);
      const isHere = this.app.choose(model);
      this.restart(messages);
      if (model && !isHere) {
        showProblem(new Error(`The file’s model ${model} is not here: continue it with ${this.app.model.id}.`));
      }
      this.sampling.write(settings);
      if (Array.isArray(settings.tools)) {
        for (const box of this.tools.querySelectorAll("input")) box.checked = settings.tools.includes(box.name);
      }
      this.system.value = system;
    } catch (error) {
      showProblem(error);
    }
  }

  // Tokens

  toggleTokens() {
    this.tokens.hidden = !this.tokens.hidden;
    this.tokensButton.setAttribute("aria-expanded", String(!this.tokens.hidden));
    this.tokensButton.textContent = this.tokens.hidden ? "Show tokens" : "Hide tokens";
    this.refreshTokens();
  }

  async refreshTokens() {
    if (this.tokens.hidden) return;
    if (!this.messages.length) {
      this.tokens.replaceChildren(element("p", {}, "There is no conversation yet."));
      return;
    }
    const messages = wholeConversation(this.system.value, this.messages);
    try {
      const body = { model: this.app.model.id, messages, tools: this.offeredTools() };
      this.drawTokens(await postJson("api/render", body));
    } catch (error) {
      this.tokens.replaceChildren(element("p", {}, error.message));
    }
  }

  drawTokens({ tokens, context }) {
    const trained = tokens.filter((token) => token.trained).length;
    const legend = element(
      "p",
      { class: "soft" },
      `${number(tokens.length)} of ${number(context)} tokens of the context. `,
      element("span", { class: "token special" }, "Special tokens"),
      " are the chat protocol’s. ",
      element("mark", { class: "trained" }, "Underlined"),
      ` are the ${number(trained)} tokens on which loss is computed in training.`,
    );
    this.tokens.replaceChildren(element("h2", {}, "Tokens"), legend, readOnlyStrip(tokens));
  }
}
