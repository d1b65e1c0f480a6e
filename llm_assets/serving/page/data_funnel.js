// How many pages each stage and rule kept and rejected.

import { address } from "./address.js";
import { getJson } from "./api.js";
import { element, field, number } from "./dom.js";
import { bar, table } from "./table.js";

export function createPart() {
  return new Funnel();
}

class Funnel {
  constructor() {
    this.crawl = element("select", { name: "crawl", onchange: () => this.draw() });
    this.result = element("div");
    this.node = element("section", { "aria-label": "Funnel" }, this.result);
  }

  async show() {
    this.body = await getJson("api/data/funnel");
    const names = this.body.crawls;
    this.crawl.replaceChildren(
      element("option", { value: "" }, `all ${number(names.length)} crawls`),
      ...names.map((name) => element("option", {}, name)),
    );
    this.draw();
  }

  draw() {
    const { crawls, unbuilt, funnel, rules } = this.body;
    const isShown = (row) => !this.crawl.value || row.crawl === this.crawl.value;
    const stages = sums(funnel.filter(isShown), ["stage"], ["pages", "rejected", "bytes"]);
    const missing = unbuilt.length ? `Not built yet: ${unbuilt.join(", ")}.` : "";
    this.result.replaceChildren(
      crawls.length > 1 ? field("Crawl", this.crawl) : "",
      missing ? element("p", { class: "soft" }, missing) : "",
      element("h2", {}, "Pages that each stage kept"),
      this.stages(stages),
      element("h2", {}, "Rules that rejected pages"),
      this.rules(sums(rules.filter(isShown), ["stage", "rule"], ["pages"])),
    );
  }

  stages(rows) {
    const most = Math.max(1, ...rows.map((row) => row.pages));
    const columns = [
      { title: "Stage" },
      { title: "Kept", numeric: true },
      { title: "Rejected", numeric: true },
      { title: "MB", numeric: true },
      { title: "Share of the captures" },
    ];
    const lines = rows.map((row) => {
      const rejected = row.rejected ? this.link({ stage: row.stage }, number(row.rejected)) : "0";
      return [row.stage, number(row.pages), rejected, number(row.bytes / 1e6, 1), bar(row.pages / most)];
    });
    return table("Pages by stage", columns, lines);
  }

  rules(rows) {
    if (!rows.length) return element("p", {}, "No page was rejected.");
    const columns = [{ title: "Stage" }, { title: "Rule" }, { title: "Pages", numeric: true }];
    rows.sort((left, right) => right.pages - left.pages);
    const lines = rows.map(({ stage, rule, pages }) => [stage, this.link({ stage, rule }, rule), number(pages)]);
    return table("Rejected pages by rule", columns, lines);
  }

  link(fields, text) {
    return element("a", { href: address("data", { part: "documents", ...fields, crawl: this.crawl.value }) }, text);
  }
}

// Rows with the sums of `numbers` over the rows that agree in `names`, in the order of their first row.
function sums(rows, names, numbers) {
  const byKey = new Map();
  for (const row of rows) {
    const key = JSON.stringify(names.map((name) => row[name]));
    const sum = byKey.get(key);
    if (sum) for (const name of numbers) sum[name] += row[name];
    else byKey.set(key, { ...row });
  }
  return [...byKey.values()];
}
