// Documents found by their text and their fate. The search is in the address.

import { address, queryOf } from "./address.js";
import { getJson } from "./api.js";
import { announce, element, field, number } from "./dom.js";

const SHOWN = 20; // documents on a page of results

export function createPart() {
  return new Documents();
}

// The address of a capture's history.
export function documentAddress({ crawl, warc_file: file, warc_offset: offset }) {
  return address("data", { part: "document", crawl, file, offset });
}

// Why a capture was rejected, in a sentence.
export function rejectText({ stage, rule, value, threshold }) {
  const measured = value ? `, value ${value}` : "";
  return `rejected in ${stage} by ${rule}${measured}${threshold ? `, threshold ${threshold}` : ""}`;
}

class Documents {
  constructor() {
    this.request = 0; // number of the newest one; answers to others are dropped
    this.inputs = {
      text: element("input", { name: "text", type: "search", placeholder: 'words, "a phrase"' }),
      url: element("input", { name: "url", type: "search" }),
      host: element("input", { name: "host", type: "search" }),
      language: element("input", { name: "language", type: "search", placeholder: "en", size: 4 }),
      state: select("state", ["", "kept", "rejected"]),
      stage: select("stage", [""]),
      rule: select("rule", [""]),
      crawl: select("crawl", [""]),
    };
    const labels = {
      text: "Text",
      url: "Part of the URL",
      host: "Host",
      language: "Language",
      state: "State",
      stage: "Stage",
      rule: "Rule",
      crawl: "Crawl",
    };
    this.form = element(
      "form",
      { class: "search", role: "search", "aria-label": "Documents" },
      ...Object.entries(this.inputs).map(([name, input]) => field(labels[name], input)),
      element("button", { class: "primary" }, "Search"),
    );
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const values = Object.fromEntries(Object.entries(this.inputs).map(([name, input]) => [name, input.value.trim()]));
      location.hash = address("data", { part: "documents", ...values });
    });
    this.result = element("div");
    this.node = element("section", { "aria-label": "Documents" }, this.form, this.result);
  }

  async show(fields) {
    const current = ++this.request;
    await this.addChoices();
    for (const [name, input] of Object.entries(this.inputs)) {
      const value = fields[name] ?? "";
      if (input.options && ![...input.options].some((option) => option.value === value)) {
        input.append(element("option", {}, value));
      }
      input.value = value;
    }
    const offset = Number(fields.offset ?? 0);
    const body = await getJson(`api/data/documents?${queryOf({ ...fields, limit: SHOWN, offset })}`);
    if (current === this.request) this.draw(body, fields, offset);
  }

  // The crawls, stages and rules that the funnel has.
  async addChoices() {
    if (this.inputs.crawl.options.length > 1) return;
    const { crawls, rules } = await getJson("api/data/funnel");
    const choices = {
      crawl: crawls,
      stage: rules.map(({ stage }) => stage),
      rule: rules.map(({ rule }) => rule).sort(),
    };
    for (const [name, values] of Object.entries(choices)) {
      this.inputs[name].append(...[...new Set(values)].map((value) => element("option", {}, value)));
    }
  }

  draw({ total, documents }, fields, offset) {
    const first = documents.length ? offset + 1 : 0;
    const range = `${number(total)} documents; ${number(first)} to ${number(offset + documents.length)} are shown.`;
    const page = (text, place) =>
      element("a", { href: address("data", { part: "documents", ...fields, offset: place || "" }) }, text);
    this.result.replaceChildren(
      element("p", { class: "soft" }, total ? range : "No document is found."),
      element("ol", { class: "cards", start: first }, ...documents.map((row) => this.card(row))),
      element(
        "div",
        { class: "row" },
        offset ? page("Previous", Math.max(0, offset - SHOWN)) : "",
        offset + SHOWN < total ? page("Next", offset + SHOWN) : "",
      ),
    );
    announce(total ? range : "No document is found.");
  }

  card(row) {
    const isKept = row.state === "kept";
    const details = [row.crawl, row.language, row.characters === null ? null : `${number(row.characters)} characters`];
    for (const [kind, count] of Object.entries(row.placeholders)) {
      details.push(`${number(count)} × <${kind.toUpperCase()}>`);
    }
    return element(
      "li",
      {},
      element("a", { href: documentAddress(row), class: "title" }, row.title || row.url),
      element("p", { class: "soft address" }, row.url),
      element("p", {}, element("span", { class: `state ${row.state}` }, isKept ? "kept" : rejectText(row))),
      row.snippet ? element("p", {}, row.snippet) : null,
      element("p", { class: "soft" }, details.filter(Boolean).join(" · ")),
    );
  }
}

function select(name, values) {
  return element("select", { name }, ...values.map((value) => element("option", { value }, value || "any")));
}
