// Several checkpoints side by side on one prompt, each with its lineage and cost; and the blind arena.

import { isStop, getJson, postStream } from "./api.js";
import { Arena } from "./arena.js";
import { removeEmptyEnd, streamAnswer } from "./conversation.js";
import { announce, button, clearProblem, element, field, keepFocus, showProblem } from "./dom.js";
import { differencesTable, lineagePanel } from "./lineage.js";
import { messageContent } from "./message.js";
import { samplingSettings } from "./settings.js";

const MOST = 4; // models side by side

export function createView(app) {
  return new Compare(app).node;
}

class Compare {
  constructor(app) {
    this.app = app;
    this.models = [];
    this.boxes = [];
    this.stopper = null;
    this.arena = new Arena(() => this.chosen());
    this.build();
    this.load();
    app.addEventListener("models", () => {
      this.drawTools();
      this.load();
    });
  }

  build() {
    this.input = element("textarea", { rows: 2, name: "prompt" });
    this.input.value = "Who are you?";
    this.askButton = button("Ask all", () => this.ask(), { class: "primary", disabled: true });
    this.stopButton = button("Stop", () => this.stopper?.abort(), { hidden: true });
    this.columns = element("div", { class: "columns" });
    this.differences = element("div");
    this.node = element(
      "div",
      { class: "with-side" },
      element(
        "section",
        { "aria-label": "Compare" },
        element("h1", { class: "unseen" }, "Compare"),
        element("h2", {}, "Side by side"),
        field("Prompt", this.input),
        element("p", { class: "soft" }, "Chat models answer it; base models continue it as a document."),
        element("div", { class: "row" }, this.askButton, this.stopButton),
        this.columns,
        this.differences,
        this.arena.node,
      ),
      this.side(),
    );
  }

  side() {
    this.sampling = samplingSettings(this.app);
    this.choices = element("fieldset", { class: "settings" });
    this.tools = element("fieldset", { class: "settings" });
    this.drawTools();
    return element("aside", { "aria-label": "Settings" }, this.choices, this.tools, this.sampling.node);
  }

  drawTools() {
    const ticked = this.tickedTools();
    const tools = [...new Set(this.app.models.flatMap((model) => model.tools))];
    const box = (name) => element("input", { type: "checkbox", name, checked: ticked.includes(name) });
    this.tools.hidden = !tools.length;
    this.tools.replaceChildren(
      element("legend", {}, "Tools"),
      ...tools.map((name) => element("label", {}, box(name), ` ${name}`)),
    );
  }

  tickedTools() {
    return [...this.tools.querySelectorAll("input:checked")].map((box) => box.name);
  }

  // Models

  async load() {
    try {
      const { recipe, models } = await getJson("api/compare/models");
      const [before, shown] = [this.chosen().map(({ name }) => name), this.versions()];
      this.models = models;
      this.drawChoices(recipe, before);
      this.limitChoices();
      if (!before.length || shown !== this.versions()) await this.choose();
    } catch (error) {
      showProblem(error);
    }
  }

  // ticked: names of the models that were chosen before the list changed.
  drawChoices(recipe, ticked) {
    const chats = this.models.filter((model) => model.chat);
    const ofRecipe = chats.filter((model) => model.is_current || model.is_stale);
    const kept = this.models.filter(({ name }) => ticked.includes(name));
    const first = ofRecipe.length > 1 ? ofRecipe.slice(-2) : (chats.length > 1 ? chats : this.models).slice(0, 2);
    const chosen = kept.length ? kept : first;
    this.boxes = this.models.map((model) => {
      const box = element("input", { type: "checkbox", value: model.name, checked: chosen.includes(model) });
      box.addEventListener("change", () => this.choose());
      return box;
    });
    const labels = this.models.map((model, place) =>
      element("label", { class: "choice" }, this.boxes[place], ` ${title(model)}`, details(model)),
    );
    const hint =
      `Two to ${MOST}. Checkpoints of this recipe (${recipe}) are listed by asset; all others by identity.`;
    this.choices.replaceChildren(
      element("legend", {}, "Models"),
      element("p", { class: "soft" }, hint),
      element("div", { class: "choices" }, ...labels),
    );
  }

  chosen() {
    return this.models.filter((_, place) => this.boxes[place].checked);
  }

  // What the columns show of the chosen models, as text.
  versions() {
    return JSON.stringify(this.chosen().map(({ name, identity, is_stale }) => [name, identity, is_stale]));
  }

  limitChoices() {
    const isFull = this.chosen().length >= MOST;
    this.boxes.forEach((box) => (box.disabled = !box.checked && isFull));
  }

  async choose() {
    const models = this.chosen();
    this.stopper?.abort();
    this.limitChoices();
    this.askButton.disabled = models.length < 2;
    this.arena.useModels();
    this.answers = new Map(models.map((model) => [model.name, element("div", { class: "message answer" })]));
    this.lineages = new Map(models.map((model) => [model.name, element("div", {})]));
    const articles = models.map((model) =>
      element(
        "article",
        { class: "panel", "aria-label": title(model) },
        element("h3", {}, title(model)),
        details(model),
        this.answers.get(model.name),
        this.lineages.get(model.name),
      ),
    );
    this.columns.replaceChildren(...articles);
    this.differences.replaceChildren();
    if (models.length) await this.showLineages(models);
  }

  async showLineages(models) {
    const shown = this.lineages; // of the models that are chosen now
    try {
      const query = new URLSearchParams(models.map((model) => ["model", model.name]));
      const body = await getJson(`api/compare/lineages?${query}`);
      if (shown !== this.lineages) return;
      for (const { model, lineage } of body.models) {
        shown.get(model)?.replaceChildren(lineagePanel(model, lineage));
      }
      if (models.length > 1) this.differences.replaceChildren(differencesTable(body));
    } catch (error) {
      showProblem(error);
    }
  }

  // Answers

  async ask() {
    clearProblem();
    const stopper = new AbortController();
    let sampling;
    try {
      if (!this.input.value.trim()) throw new Error("The prompt is empty.");
      sampling = this.sampling.read();
    } catch (error) {
      showProblem(error);
      return;
    }
    this.stopper = stopper;
    this.stopButton.hidden = false;
    this.askButton.hidden = true;
    keepFocus(this.stopButton);
    announce("The models are answering.");
    await Promise.all(this.chosen().map((model) => this.answer(model, sampling, stopper.signal)));
    this.stopper = null;
    this.stopButton.hidden = true;
    this.askButton.hidden = false;
    keepFocus(this.askButton);
    announce(stopper.signal.aborted ? "The answers were stopped." : "All answers are complete.");
  }

  // Writes one model's answer into its column; an error stands there as well, beside the others' answers.
  async answer(model, sampling, signal) {
    const place = this.answers.get(model.name);
    place.replaceChildren(element("p", { class: "soft" }, "…"));
    try {
      await (model.chat ? this.chat(model, sampling, signal, place) : this.continue(model, sampling, signal, place));
    } catch (error) {
      if (!isStop(error)) place.append(element("p", { class: "failed" }, error.message));
    }
  }

  async chat(model, sampling, signal, place) {
    const messages = [{ role: "user", content: this.input.value }];
    const request = { ...sampling, model: model.name, messages: [...messages] };
    const tools = this.offeredTools(model);
    if (tools.length) request.tools = tools.map((type) => ({ type }));
    const draw = () => {
      const answer = messages.slice(1);
      place.replaceChildren(
        ...answer.map((message) => element("div", { class: message.role }, messageContent(message))),
      );
    };
    for await (const _ of streamAnswer(messages, request, signal)) draw();
    removeEmptyEnd(messages);
    draw();
    if (messages.length === 1) place.append(element("p", { class: "soft" }, "The model answered without text."));
  }

  offeredTools(model) {
    return this.tickedTools().filter((name) => model.tools.includes(name));
  }

  async continue(model, sampling, signal, place) {
    const text = element("p", {}, element("span", { class: "soft" }, this.input.value));
    place.replaceChildren(text);
    const request = { ...sampling, model: model.name, prompt: this.input.value, stream: true };
    for await (const chunk of postStream("v1/completions", request, signal)) text.append(chunk.choices[0].text);
  }
}

function title(model) {
  return model.is_current || model.is_stale || !model.asset ? model.name : `${model.asset} ${model.identity}`;
}

function details(model) {
  const built = model.finished_at.slice(0, 16).replace("T", " ");
  const identity = model.name === model.asset ? model.identity : "";
  const words = [model.chat ? "chat" : "base", model.is_stale ? "stale" : "", identity, built];
  return element("span", { class: "soft details" }, words.filter(Boolean).join(", "));
}
