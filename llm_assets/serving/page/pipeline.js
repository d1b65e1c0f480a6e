// The asset graph with the state of every asset, and the reports that are drawn from artifacts.

import { address, followAddress, queryOf } from "./address.js";
import { getJson, getText } from "./api.js";
import { announce, button, element, number, showProblem } from "./dom.js";
import { foreignFrame } from "./foreign.js";
import { assetGraph } from "./pipeline_graph.js";
import { facts } from "./table.js";

export function createView() {
  return new Pipeline().node;
}

// What people call a state, and a sign that does not need colours.
const STATES = {
  cached: ["built", "✓"],
  build: ["stale", "↻"],
  depends: ["may be stale", "?"],
  unknown: ["unknown", "!"],
  left_out: ["left out", "–"],
};

function stateOf({ state, artifacts }) {
  const isNew = state === "build" && artifacts.every((artifact) => artifact.never_built || artifact.state === "cached");
  const [label, sign] = isNew ? ["not built", "+"] : STATES[state];
  return { state, label, sign };
}

class Pipeline {
  constructor() {
    this.head = element("div");
    this.reports = element("ul", { class: "reports" });
    this.report = element("section", { "aria-label": "Report", hidden: true });
    this.graph = element("div", { class: "graph" });
    this.list = element("div");
    this.node = element(
      "div",
      {},
      element("h1", { class: "unseen" }, "Pipeline"),
      this.head,
      element("h2", {}, "Reports"),
      this.reports,
      this.report,
      element("h2", {}, "Assets"),
      this.graph,
      this.list,
    );
    this.loading = this.load();
    followAddress("pipeline", (fields) => this.show(fields));
  }

  async load() {
    this.body = await getJson("api/pipeline");
    this.draw();
  }

  async show({ artifact, file }) {
    await this.loading;
    this.report.hidden = !(artifact && file);
    this.report.replaceChildren();
    if (artifact && file) await this.showReport(artifact, file);
  }

  draw() {
    const { assets } = this.body;
    this.drawHead();
    this.drawReports();
    this.graph.replaceChildren(assetGraph(assets, stateOf, (name) => this.choose(name)));
    const groups = [...new Set(assets.map((asset) => asset.group))];
    this.list.replaceChildren(
      ...groups.flatMap((group) => [
        element("h3", {}, group),
        element(
          "ul",
          { class: "assets" },
          ...assets.filter((asset) => asset.group === group).map((asset) => this.item(asset)),
        ),
      ]),
    );
    announce(`${number(assets.length)} assets`);
  }

  drawHead() {
    const { recipe, crawls, dagster, mlflow, assets, builds } = this.body;
    const counts = {};
    for (const asset of assets) {
      const { label } = stateOf(asset);
      counts[label] = (counts[label] ?? 0) + 1;
    }
    const running = builds.map((build) => `${build.key}, since ${build.since}, by ${build.holder}`);
    this.head.replaceChildren(
      facts([
        ["Recipe", recipe],
        ["Crawls", crawls.join(", ")],
        ["Assets", Object.entries(counts).map(([label, count]) => `${number(count)} ${label}`).join(", ")],
        ["Being built", running.join("; ")],
      ]),
      element(
        "p",
        { class: "row" },
        button("Refresh", () => this.load().catch(showProblem)),
        element("a", { href: dagster, target: "_blank", rel: "noreferrer" }, "Dagster"),
        element("a", { href: mlflow, target: "_blank", rel: "noreferrer" }, "MLflow"),
        element("span", { class: "soft" }, "if they run: make ui, make mlflow"),
      ),
    );
  }

  // Reports

  drawReports() {
    const links = this.body.assets.flatMap((asset) => asset.artifacts.flatMap((artifact) => reportLinks(artifact)));
    links.sort((left, right) => isScorecard(right) - isScorecard(left));
    this.reports.replaceChildren(...links.map((link) => element("li", {}, link)));
    if (!links.length) this.reports.append(element("li", {}, "No artifact with a report is built."));
  }

  async showReport(artifact, file) {
    const query = queryOf({ name: artifact, file });
    // A frame could not show why there is no report, and a browser would save Markdown as a file.
    const text = await getText(`api/pipeline/view?${query}`);
    const content = file.endsWith(".md")
      ? element("pre", { class: "reader source", tabindex: "0", role: "region", "aria-label": file }, text)
      : await foreignFrame(`${file} of ${artifact}`, "api/pipeline/view", query);
    const title = element("h3", { tabindex: "-1" }, `${file} of ${artifact}`);
    const close = element("p", {}, element("a", { href: address("pipeline") }, "Close"));
    this.report.replaceChildren(title, this.staleness(artifact), content, close);
    title.focus();
  }

  // Says of a report that its artifact is not what the recipe asks for now, and why.
  staleness(identity) {
    const artifacts = this.body.assets.flatMap((asset) => asset.artifacts);
    const artifact = artifacts.find((artifact) => artifact.stale && artifact.identity === identity);
    return artifact ? element("p", { class: "panel" }, artifact.stale) : "";
  }

  // Assets

  choose(name) {
    const item = document.getElementById(`asset-${name}`);
    item.querySelector("details").open = true;
    item.scrollIntoView({ block: "center" });
    item.focus();
  }

  item(asset) {
    const { state, label, sign } = stateOf(asset);
    const notes = [asset.per_crawl ? "per crawl" : "", asset.on_demand ? "on demand" : "", ...asset.kinds];
    const summary = element(
      "summary",
      {},
      element("strong", {}, asset.name),
      " ",
      element("span", { class: `state ${state}` }, `${sign} ${label}`),
    );
    const inputs = asset.inputs.length ? element("p", { class: "soft" }, `reads ${asset.inputs.join(", ")}`) : null;
    const properties = { href: this.body.dagster_assets[asset.name], target: "_blank", rel: "noreferrer" };
    return element(
      "li",
      { class: "asset", id: `asset-${asset.name}`, tabindex: "-1" },
      element(
        "details",
        {},
        summary,
        element("p", {}, asset.description),
        element("p", { class: "soft" }, notes.filter(Boolean).join(" · ")),
        inputs,
        ...asset.artifacts.map((artifact) => this.artifact(artifact)),
        element("p", {}, element("a", properties, "Open in Dagster")),
      ),
      this.reason(asset),
    );
  }

  // Why an asset is not built.
  reason({ state, left_out: leftOut, artifacts }) {
    if (state === "left_out") return leftOut ? element("p", { class: "soft" }, leftOut) : null;
    const missing = artifacts.filter((artifact) => artifact.state !== "cached");
    if (!missing.length) return null;
    const rest = missing.length > 1 ? ` (${number(missing.length)} artifacts)` : "";
    return element("p", { class: "soft" }, `${missing[0].reason}${rest}`);
  }

  artifact(artifact) {
    const rows = Object.entries(artifact.rows).map(([table, count]) => `${number(count)} ${table}`);
    const run = artifact.dagster_run && `${this.body.dagster}/runs/${artifact.dagster_run}`;
    const links = reportLinks(artifact);
    const stale = artifact.stale && `${artifact.identity}, stale: as it was last built`;
    if (run) links.push(element("a", { href: run, target: "_blank", rel: "noreferrer" }, "Run in Dagster"));
    return element(
      "section",
      { class: "artifact", "aria-label": artifact.key },
      element("h4", {}, artifact.key),
      facts([
        ["State", artifact.reason],
        ["Shown", stale],
        ["Built", artifact.finished_at && artifact.finished_at.replace("T", " ")],
        ["Size", artifact.bytes && `${number(artifact.bytes / 1e6, 1)} MB`],
        ["Rows", rows.join(", ")],
      ]),
      links.length ? element("p", { class: "row" }, ...links) : null,
    );
  }
}

function reportLinks({ key, identity, views, stale }) {
  return views.map((file) => {
    const text = `${key}: ${file.split("/").at(-1)}${stale ? " (stale)" : ""}`;
    return element("a", { href: address("pipeline", { artifact: identity, file }) }, text);
  });
}

function isScorecard(link) {
  return link.textContent.startsWith("scorecard") ? 1 : 0;
}
