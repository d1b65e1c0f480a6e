// Thresholds of the quality rules as sliders: how many pages others would keep and drop, and which.

import { getJson, postJson } from "./api.js";
import { announce, button, clearProblem, element, number, showProblem } from "./dom.js";
import { documentAddress } from "./data_documents.js";
import { table } from "./table.js";

const PAUSE = 250; // milliseconds without a change after which pages are counted
const STEPS = 100; // of a slider, about
const SAMPLES = 10; // pages that are shown of those that flip
const SHOWN_CHARACTERS = 240; // of a page's text

export function createPart() {
  return new Thresholds();
}

class Thresholds {
  constructor() {
    this.request = 0; // number of the newest one; answers to others are dropped
    this.sliders = null;
    this.rules = element("ul", { class: "sliders", "aria-label": "Quality rules" });
    this.result = element("div", { class: "panel" });
    this.summary = element("p", { class: "soft" });
    const reset = button("Reset all", () => {
      for (const slider of this.sliders) slider.reset();
      this.count();
    });
    this.node = element(
      "div",
      { class: "with-side" },
      element(
        "section",
        { "aria-label": "Thresholds" },
        element("h2", {}, "Thresholds"),
        this.summary,
        reset,
        this.rules,
      ),
      element("aside", { "aria-label": "What would change" }, this.result),
    );
  }

  async show() {
    if (this.sliders) return;
    const { pages, shares, rules } = await getJson("api/data/rules");
    this.summary.textContent =
      `The recipe’s quality rules, and what others would do to the ${number(pages)} pages that they judge. ` +
      "Nothing is rebuilt; to apply a change, put it into a recipe.";
    rules.sort((left, right) => right.breaking - left.breaking);
    this.sliders = rules.map((rule) => new Slider(rule, shares, () => this.countSoon()));
    this.rules.replaceChildren(...this.sliders.map((slider) => slider.node));
    this.drawUnchanged();
  }

  drawUnchanged() {
    this.result.replaceChildren(element("h2", {}, "What would change"), element("p", {}, "Move a threshold."));
  }

  countSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.count(), PAUSE);
  }

  async count() {
    clearTimeout(this.timer);
    const current = ++this.request;
    const changed = this.sliders.filter((slider) => slider.isChanged());
    if (!changed.length) return this.drawUnchanged();
    const thresholds = Object.fromEntries(changed.map((slider) => [slider.rule.rule, slider.threshold()]));
    try {
      const body = await postJson("api/data/what-if", { thresholds, samples: SAMPLES });
      if (current !== this.request) return;
      clearProblem();
      this.draw(body);
    } catch (error) {
      showProblem(error);
    }
  }

  draw(body) {
    const columns = [{ title: "Rule" }, { title: "Now", numeric: true }, { title: "Then", numeric: true }];
    const rows = body.rules.map(({ rule, before, after }) => [rule, number(before), number(after)]);
    const change = `${number(body.kept_before)} pages are kept now, ${number(body.kept_after)} would be.`;
    this.result.replaceChildren(
      element("h2", {}, "What would change"),
      element("p", {}, change),
      ...this.flips("would be dropped", body.now_dropped, body.dropped_samples),
      ...this.flips("would be kept", body.now_kept, body.kept_samples),
      element("h3", {}, "Pages that each rule drops"),
      rows.length ? table("Pages that each rule drops", columns, rows) : element("p", {}, "None."),
    );
    announce(change);
  }

  flips(what, count, samples) {
    if (!count) return [element("p", {}, `No further page ${what}.`)];
    const rest = count > samples.length ? `, of which ${number(samples.length)} are shown` : "";
    const items = samples.map((page) =>
      element(
        "li",
        {},
        element("a", { href: documentAddress(page) }, page.url),
        element("span", { class: "soft" }, ` ${page.rule}: ${page.value}`),
        element("p", { class: "soft" }, shortened(page.text)),
      ),
    );
    return [element("h3", {}, `${number(count)} pages ${what}${rest}`), element("ul", { class: "flips" }, ...items)];
  }
}

// A rule with its slider. The slider counts steps from the recipe's threshold, which therefore is one of its places.
class Slider {
  constructor(rule, shares, changed) {
    this.rule = rule;
    const [low, high] = range(rule);
    this.step = stepOf(high - low);
    this.input = element("input", {
      type: "range",
      min: -Math.floor((rule.threshold - low) / this.step + 1e-9),
      max: Math.floor((high - rule.threshold) / this.step + 1e-9),
      value: 0,
      "aria-label": `Threshold of ${rule.rule}`,
    });
    this.off = element("input", { type: "checkbox", "aria-label": `Switch off ${rule.rule}` });
    this.output = element("output", { class: "n" });
    const update = () => {
      this.draw();
      changed();
    };
    this.input.addEventListener("input", update);
    this.off.addEventListener("change", update);
    this.node = element(
      "li",
      {},
      element("div", { class: "row" }, element("strong", {}, rule.rule), this.output),
      element("div", { class: "row" }, this.input, element("label", {}, this.off, " off")),
      element("p", { class: "soft" }, this.description(shares)),
    );
    this.draw();
  }

  description(shares) {
    const { column, drops, threshold, source, breaking, quantiles } = this.rule;
    const at = (share) => shown(quantiles[shares.indexOf(share)], 3);
    const spread = quantiles.length ? ` 5 % of pages have at most ${at(0.05)}, half ${at(0.5)}, 95 % ${at(0.95)}.` : "";
    const rule = `Drops pages with ${column} ${drops.replaceAll("_", " ")} ${shown(threshold)} (${source}).`;
    return `${rule} ${number(breaking)} pages break it.${spread}`;
  }

  threshold() {
    if (this.off.checked) return null;
    return Number((this.rule.threshold + Number(this.input.value) * this.step).toPrecision(12));
  }

  isChanged() {
    return this.threshold() !== this.rule.threshold;
  }

  reset() {
    this.off.checked = false;
    this.input.value = 0;
    this.draw();
  }

  draw() {
    const text = this.off.checked ? "off" : shown(this.threshold());
    this.output.textContent = this.isChanged() ? `${shown(this.rule.threshold)} → ${text}` : text;
    this.input.disabled = this.off.checked;
    this.input.setAttribute("aria-valuetext", text);
    this.node.classList.toggle("changed", this.isChanged());
  }
}

// The values that a slider reaches: all ratios, or about those that 98 % of the pages have, and twice the threshold.
function range({ threshold, is_ratio: isRatio, quantiles }) {
  if (isRatio) return [0, 1];
  const values = quantiles.slice(1, -1);
  return [Math.min(0, threshold, ...values), Math.max(2 * threshold, 1, ...values)];
}

// A step of 1, 2 or 5 times a power of ten.
function stepOf(width) {
  const power = 10 ** Math.floor(Math.log10(width / STEPS));
  return power * [1, 2, 5, 10].find((factor) => width / (factor * power) <= STEPS * 1.001);
}

function shown(value, digits = 6) {
  return value.toLocaleString("en", { maximumSignificantDigits: digits });
}

function shortened(text) {
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)} …` : text;
}
