// The walk of `llm-assets tour`: each step shows something real from the store, or asks a model something.

import { getJson, postJson } from "./api.js";
import { announce, button, clearProblem, element, showProblem } from "./dom.js";

export function createView() {
  return new Tour().node;
}

class Tour {
  constructor() {
    this.steps = [];
    this.place = 0;
    this.list = element("ol", { class: "steps" });
    this.step = element("section", { "aria-label": "Step" });
    this.node = element(
      "div",
      { class: "with-side" },
      element("section", { "aria-label": "Tour" }, element("h1", { class: "unseen" }, "Tour"), this.step),
      element("aside", { "aria-label": "Steps" }, element("nav", { "aria-label": "Steps of the tour" }, this.list)),
    );
    this.load();
  }

  async load() {
    try {
      const { recipe, steps } = await getJson("api/tour");
      this.recipe = recipe;
      this.steps = steps.map((step) => ({ ...step, report: null }));
      this.show(0);
    } catch (error) {
      showProblem(error);
    }
  }

  // The steps, in the side column

  drawList() {
    const items = this.steps.map((step, place) => {
      const classes = [step.left_out ? "soft" : "", step.report && !step.report.left_out ? "taken" : ""];
      const link = button(step.title, () => this.show(place), { class: classes.join(" ").trim() || null });
      if (place === this.place) link.setAttribute("aria-current", "step");
      return element("li", {}, link, step.left_out ? element("span", { class: "unseen" }, " (not built)") : "");
    });
    this.list.replaceChildren(...items);
  }

  // A step

  show(place) {
    this.place = place;
    clearProblem();
    this.draw();
  }

  draw() {
    const step = this.steps[this.place];
    this.drawList();
    this.step.replaceChildren(
      element("h2", {}, `${this.place + 1}. ${step.title}`),
      element("p", {}, step.seen),
      ...this.result(step),
      this.buttons(step),
    );
  }

  result(step) {
    const reason = step.report?.left_out || step.left_out;
    if (reason) return [element("p", { class: "panel" }, `Left out: ${reason}`)];
    if (!step.report) return [];
    const label = `What the step “${step.title}” shows`;
    return [
      element(
        "pre",
        { class: "lines", role: "region", tabindex: "0", "aria-label": label },
        step.report.lines.join("\n"),
      ),
      ...step.report.notices.map((notice) => element("p", { class: "panel" }, notice)),
    ];
  }

  buttons(step) {
    const last = this.place === this.steps.length - 1;
    const canTake = !step.left_out && !step.report && !step.isRunning;
    const move = (places) => () => {
      this.show(this.place + places);
      this.step.querySelector("button.primary, button:enabled")?.focus();
    };
    return element(
      "div",
      { class: "row" },
      step.isRunning ? element("span", { class: "soft" }, "Running …") : "",
      canTake ? button("Take this step", () => this.take(this.place), { class: "primary" }) : "",
      button("Previous", move(-1), { disabled: this.place === 0 }),
      button("Next", move(1), { disabled: last, class: canTake || step.isRunning ? null : "primary" }),
      element("span", { class: "soft" }, `Step ${this.place + 1} of ${this.steps.length}, recipe ${this.recipe}`),
    );
  }

  async take(place) {
    const step = this.steps[place];
    step.isRunning = true;
    this.draw();
    announce("The step is being taken.");
    try {
      step.report = await postJson(`api/tour/${step.name}`, {});
      announce(`Step ${place + 1} is done.`);
    } catch (error) {
      showProblem(error);
    }
    step.isRunning = false;
    this.draw();
    if (place === this.place) this.step.querySelector("button.primary")?.focus();
  }
}
