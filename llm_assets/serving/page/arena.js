// The blind arena: two models answer, a vote reveals their names, and all votes make a table of ratings.

import { getJson, postJson } from "./api.js";
import { announce, button, clearProblem, element, field, number, showProblem } from "./dom.js";
import { table } from "./table.js";
import { labellerField, votePanel } from "./votes.js";

const HINT = "Two chat models answer in random order. Your vote is stored, and then their names are shown.";

export class Arena {
  // chosenModels(): those that are ticked in the comparison.
  constructor(chosenModels) {
    this.chosenModels = chosenModels;
    this.labeller = labellerField();
    this.input = element("textarea", { rows: 2, name: "question" });
    this.models = element("select", { name: "contestants" });
    this.askButton = button("Ask two models", () => this.ask(), { class: "primary" });
    this.pair = element("div");
    this.ratings = element("div");
    this.node = element(
      "section",
      { class: "arena", "aria-label": "Blind arena" },
      element("h2", {}, "Blind arena"),
      element("p", { class: "soft" }, HINT),
      element("div", { class: "row" }, this.labeller.node, field("Models", this.models)),
      field("Question", this.input),
      element("div", { class: "row" }, this.askButton),
      this.pair,
      this.ratings,
    );
    this.showRatings();
  }

  // Offers the two models that are ticked, if both of them chat.
  useModels() {
    const models = this.chosenModels().filter((model) => model.chat);
    const options = [element("option", { value: "" }, "drawn at random")];
    if (models.length === 2) options.push(element("option", { value: "ticked" }, "the two that are ticked"));
    this.models.replaceChildren(...options);
  }

  async ask() {
    clearProblem();
    try {
      this.labeller.read();
      const question = this.input.value.trim();
      if (!question) throw new Error("The question is empty.");
      const names = this.models.value ? this.chosenModels().filter((model) => model.chat) : [];
      this.askButton.disabled = true;
      announce("Two models are answering.");
      const body = { question, models: names.map((model) => model.name) };
      this.showPair(await postJson("api/arena/comparisons", body));
    } catch (error) {
      showProblem(error);
    }
    this.askButton.disabled = false;
  }

  showPair({ comparison, question, first, second }) {
    const panel = votePanel(question, first, second, async (vote) => {
      panel.disable();
      try {
        clearProblem();
        const revealed = await postJson("api/arena/votes", { comparison, vote, labeller: this.labeller.read() });
        this.reveal(panel, revealed);
        await this.showRatings();
      } catch (error) {
        panel.enable();
        showProblem(error);
      }
    });
    this.pair.replaceChildren(panel.node);
    panel.node.focus();
    announce("Both answers are there: vote.");
  }

  reveal(panel, { first, second, file }) {
    const names = `First: ${first.name} (${first.identity}). Second: ${second.name} (${second.identity}).`;
    panel.node.append(
      element("p", { class: "revealed" }, names),
      element("p", { class: "soft" }, `The vote is stored in ${file}.`),
    );
    announce(names);
    this.input.focus();
  }

  // Ratings

  async showRatings() {
    try {
      const { ratings, votes, both_bad: bothBad, rejects } = await getJson("api/arena/ratings");
      const facts = [`${number(votes)} ${votes === 1 ? "vote" : "votes"}`];
      if (bothBad) facts.push(`${number(bothBad)} of them “both bad”, which count as ties`);
      if (rejects) facts.push(`${number(rejects)} lines could not be read as votes`);
      const note = "Ratings of the Bradley–Terry model on Elo’s scale, with 95 % intervals";
      this.ratings.replaceChildren(
        element("h3", {}, "Ratings"),
        element("p", { class: "soft" }, `${note}: ${facts.join("; ")}.`),
        ratings.length ? ratingsTable(ratings) : "",
      );
    } catch (error) {
      showProblem(error);
    }
  }
}

function ratingsTable(ratings) {
  const low = Math.min(...ratings.map((rating) => rating.low));
  const range = Math.max(1, Math.max(...ratings.map((rating) => rating.high)) - low);
  const numbers = ["Rating", "95 % interval", "Votes", "Won", "Tied", "Lost"];
  const columns = [
    { title: "Model", heads: true },
    ...numbers.map((title) => ({ title, numeric: true })),
    { plot: true },
  ];
  const rows = ratings.map((rating) => {
    const plot = element("span", { class: "interval" });
    for (const name of ["low", "rating", "high"]) plot.style.setProperty(`--${name}`, (rating[name] - low) / range);
    const counts = ["battles", "wins", "ties", "losses"].map((name) => number(rating[name]));
    const interval = `${number(rating.low)} – ${number(rating.high)}`;
    return [rating.model, number(rating.rating), interval, ...counts, plot];
  });
  return table("Ratings of models", columns, rows);
}
