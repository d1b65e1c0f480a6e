// Pairs of answers to rank, by keyboard, with the guidelines at hand and the agreement of the labellers.

import { getJson, postJson } from "./api.js";
import { announce, button, clearProblem, element, field, keepFocus, number, percent, showProblem } from "./dom.js";
import { guidelinesText } from "./guidelines.js";
import { RankingsVersion } from "./rankings_version.js";
import { table } from "./table.js";
import { labellerField, votePanel } from "./votes.js";

const SOURCES = {
  pairs: "pairs of the recipe",
  adversarial: "pairs that misled the reward model",
  fresh: "fresh answers of a model",
};

export function createView(app) {
  return new Rank(app).node;
}

class Rank {
  constructor(app) {
    this.app = app;
    this.build();
    this.refresh();
  }

  build() {
    this.labeller = labellerField();
    const options = Object.entries(SOURCES).map(([value, label]) => element("option", { value }, label));
    this.source = element("select", { name: "source", onchange: () => this.useSource() }, ...options);
    this.startButton = button("Start", () => this.start(), { class: "primary" });
    this.labeller.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !this.startButton.hidden && !this.startButton.disabled) this.start();
    });
    this.fresh = this.freshFields();
    this.progress = element("p", { class: "soft" });
    this.pair = element("div");
    this.state = element("section", { "aria-label": "Rankings so far" });
    this.version = new RankingsVersion(() => this.refresh());
    this.guidelines = element("details", { class: "guidelines" }, element("summary", {}, "Guidelines"));
    this.node = element(
      "div",
      { class: "with-side" },
      element(
        "section",
        { "aria-label": "Answers to rank" },
        element("h1", { class: "unseen" }, "Rank"),
        element("p", {}, "Which of two answers is better? Rankings train the reward model."),
        element("div", { class: "row" }, this.labeller.node, field("Rank", this.source)),
        this.fresh.node,
        element("div", { class: "row" }, this.startButton),
        this.progress,
        this.pair,
      ),
      element("aside", { "aria-label": "Rankings and guidelines" }, this.state, this.version.node, this.guidelines),
    );
    this.useSource();
  }

  freshFields() {
    const model = element("select", { name: "policy" });
    const showModels = () => {
      const names = this.app.models.filter(({ chat }) => chat).map(({ id }) => id);
      const option = (id) => element("option", { value: id, selected: id === model.value }, id);
      model.replaceChildren(...names.map(option));
    };
    this.app.addEventListener("models", showModels);
    showModels();
    const question = element("textarea", { rows: 2, name: "question" });
    const node = element("div", {}, field("Model that answers", model), field("Question", question));
    return { node, model, question };
  }

  useSource() {
    const isFresh = this.source.value === "fresh";
    this.fresh.node.hidden = !isFresh;
    this.startButton.textContent = isFresh ? "Answer twice" : "Start";
    this.startButton.hidden = false;
    this.pair.replaceChildren();
    this.progress.textContent = "";
  }

  async start() {
    clearProblem();
    this.startButton.disabled = true;
    try {
      this.labeller.read();
      if (this.source.value === "fresh") await this.answerTwice();
      else await this.next();
    } catch (error) {
      showProblem(error);
    }
    this.startButton.disabled = false;
    keepFocus(this.startButton);
  }

  // Pairs that the server has

  isAdversarial() {
    return this.source.value === "adversarial";
  }

  async next(skip = null) {
    const source = this.source.value;
    const body = { labeller: this.labeller.read(), adversarial: this.isAdversarial(), ...(skip ? { skip } : {}) };
    const { pair, left, ranked } = await postJson("api/rank/next", body);
    if (source !== this.source.value) return; // another one was chosen meanwhile
    const hasPairs = Boolean(pair || ranked);
    this.progress.textContent = hasPairs ? `${number(ranked)} ranked, ${number(left)} left.` : "";
    this.startButton.hidden = true;
    if (!pair) {
      const text = hasPairs ? "You have ranked all pairs." : "There are no pairs to rank.";
      this.pair.replaceChildren(element("p", {}, text));
      announce(text);
      return;
    }
    const vote = (answer) => ({ vote: answer, pair: pair.pair, adversarial: this.isAdversarial() });
    const skipPair = { key: "s", label: "Skip", run: () => this.attempt(panel, () => this.next(pair.pair)) };
    const panel = votePanel(
      pair.question,
      pair.first,
      pair.second,
      (answer) => this.attempt(panel, () => this.vote(vote(answer), () => this.next())),
      [skipPair],
    );
    this.show(panel);
  }

  // Fresh pairs

  async answerTwice() {
    const question = this.fresh.question.value.trim();
    if (!question) throw new Error("The question is empty.");
    const model = this.fresh.model.value;
    if (!model) throw new Error("No chat model is built.");
    announce("The model is answering twice.");
    const { comparison, first, second } = await postJson("api/rank/fresh", { question, model });
    const done = () => {
      this.pair.replaceChildren(element("p", { class: "soft" }, "The vote is stored. Ask the next question."));
      this.fresh.question.focus();
    };
    const panel = votePanel(question, first, second, (vote) =>
      this.attempt(panel, () => this.vote({ vote, comparison }, done)),
    );
    this.show(panel);
  }

  // Votes

  show(panel) {
    this.pair.replaceChildren(panel.node);
    panel.node.focus();
  }

  // Runs what a button of the panel does; it can be used again if that fails.
  async attempt(panel, run) {
    panel.disable();
    clearProblem();
    try {
      await run();
    } catch (error) {
      panel.enable();
      panel.node.focus();
      showProblem(error);
    }
  }

  async vote(body, proceed) {
    const { file, is_read: isRead } = await postJson("api/rank/votes", { labeller: this.labeller.read(), ...body });
    announce("The vote is stored.");
    const hint = `Votes are stored in ${file}, which the recipe does not read: set human_rankings.votes to True.`;
    this.stored = isRead ? "" : hint;
    this.refresh();
    await proceed();
  }

  // What there is

  async refresh() {
    try {
      this.drawState(await getJson("api/rank"));
    } catch (error) {
      showProblem(error);
    }
  }

  drawState({ pairs, labellers, agreement, version, state, reason, guidelines }) {
    const columns = [
      { title: "Labeller", heads: true },
      { title: "Rankings", numeric: true },
      { title: "Read by the recipe" },
    ];
    const rows = labellers.map(({ labeller, rankings, is_read: isRead }) => [
      labeller,
      number(rankings),
      isRead ? "yes" : "no",
    ]);
    this.state.replaceChildren(
      element("h2", {}, "Rankings"),
      element("p", { class: "soft" }, `${number(pairs)} pairs of the recipe.`),
      rows.length ? table("Labellers", columns, rows) : "",
      element("p", {}, agreementText(agreement)),
      this.stored ? element("p", { class: "soft" }, this.stored) : "",
    );
    this.version.draw(version, state, reason);
    if (this.guidelines.children.length === 1) this.guidelines.append(...guidelinesText(guidelines));
  }
}

function agreementText(agreement) {
  if (!agreement.compared) return "No pair was ranked by two labellers yet.";
  const { share, compared, chance, kappa } = agreement;
  const comparisons = `${number(compared)} ${compared === 1 ? "comparison" : "comparisons"}`;
  return (
    `Two labellers of a pair agree in ${percent(share)} of ${comparisons} ` +
    `(by chance ${percent(chance)}; Cohen’s kappa ${number(kappa, 2)}).`
  );
}
