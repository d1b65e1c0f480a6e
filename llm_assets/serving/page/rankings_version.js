// The version of human_rankings: its rankings, the votes that it is without, and the button that builds the next one.

import { getJson, postJson } from "./api.js";
import { announce, button, element, number, showProblem } from "./dom.js";

const POLL_MILLISECONDS = 1000;

export class RankingsVersion {
  // onbuilt(): is called when a build has ended.
  constructor(onbuilt) {
    this.onbuilt = onbuilt;
    this.facts = element("div", { class: "breakable" });
    this.buildButton = button("Build new version", () => this.build());
    this.node = element(
      "section",
      { "aria-label": "Version of human_rankings" },
      element("h2", {}, "Version"),
      this.facts,
      element("div", { class: "row" }, this.buildButton),
    );
  }

  // state, reason: of the asset under the recipe.
  draw(version, state, reason) {
    const { unread, refusal, build, dagster } = version;
    const isRunning = build.state === "running";
    const votes = `${number(unread)} ${unread === 1 ? "vote is" : "votes are"} not in it yet.`;
    const isExplained = state === "cached" || refusal || (unread && state !== "unknown");
    const lines = [
      element("p", {}, versionText(version)),
      element("p", {}, refusal ? `The recipe does without: ${refusal}.` : votes),
      isExplained ? "" : element("p", { class: "soft" }, `human_rankings ${reason}`),
      element("p", { class: "soft" }, "In Dagster: ", element("a", { href: dagster }, "human_rankings")),
    ];
    if (isRunning) lines.push(element("p", {}, "The next version is being built…"));
    if (build.state === "failed") lines.push(element("p", { class: "failed" }, `The build failed: ${build.problem}`));
    this.facts.replaceChildren(...lines);
    // A disabled button would lose the focus.
    this.buildButton.setAttribute("aria-disabled", String(isRunning || Boolean(refusal)));
    if (isRunning) this.poll();
  }

  async build() {
    if (this.buildButton.getAttribute("aria-disabled") === "true") return;
    try {
      this.draw(await postJson("api/rank/version", {}), "cached", "");
      announce("The next version is being built.");
    } catch (error) {
      showProblem(error);
    }
  }

  poll() {
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      try {
        const version = await getJson("api/rank/version");
        if (version.build.state === "running") return this.poll();
        announce(version.build.state === "built" ? versionText(version) : "The build failed.");
        this.onbuilt();
      } catch (error) {
        showProblem(error);
      }
    }, POLL_MILLISECONDS);
  }
}

function versionText({ identity, rankings, by_people: byPeople, finished_at: finishedAt }) {
  if (!identity) return "No version is built.";
  const date = `${finishedAt.replace("T", " ")} UTC`;
  return `Version ${identity} of ${date}: ${number(rankings)} rankings, ${number(byPeople)} of them by people.`;
}
