// What checkpoints were built from, what that cost, and how the configs on the way differ.

import { element, number, scrolled } from "./dom.js";
import { count, duration, size } from "./units.js";

// A checkpoint's lineage with its cost, folded; null is that of a folder that is no artifact.
export function lineagePanel(lineage) {
  if (!lineage) return element("p", { class: "soft" }, "A folder without a record: its lineage is not known.");
  const { parameters, builds, cost, missing } = lineage;
  const facts = [
    parameters ? `${count(parameters)} parameters` : "",
    cost.flops ? `${count(cost.flops)}FLOP of training` : "",
    `${duration(cost.seconds)} of building`,
    `${duration(cost.cpu_seconds)} of CPU`,
    `about ${number(cost.watt_hours, 1)} Wh`,
  ];
  const rows = builds.map((build) => [
    [build.key, { class: "breakable" }],
    [build.identity],
    [duration(build.cost.seconds), { class: "n" }],
    [build.cost.flops ? count(build.cost.flops) : "–", { class: "n" }],
    [build.tokens ? count(build.tokens) : "–", { class: "n" }],
    [size(build.cost.bytes), { class: "n" }],
  ]);
  const heads = ["Artifact", "Identity", "Time", "FLOPs", "Tokens", "Size"];
  return element(
    "details",
    {},
    element("summary", {}, `Cost with everything it was built from: ${facts.filter(Boolean).join(", ")}`),
    missing.length ? element("p", {}, `No longer in the store, and not counted: ${missing.join(", ")}.`) : "",
    scrolled("Lineage, upstream first", table(heads, rows)),
  );
}

// The fields of configs in which the models' lineages differ.
export function differencesTable({ models, differences }) {
  const title = element("h3", {}, "How their recipes differ");
  if (models.some(({ lineage }) => !lineage)) return element("div", {});
  if (!differences.length) {
    const text = "The assets that all of them were built from have the same configs.";
    return element("section", {}, title, element("p", { class: "soft" }, text));
  }
  const rows = differences.map(({ asset, field, values }) => [
    [asset],
    [field, { class: "breakable" }],
    ...values.map((value) => [value, { class: "breakable" }]),
  ]);
  const heads = ["Asset", "Field", ...models.map(({ model }) => model)];
  return element("section", {}, title, scrolled("Configs that differ", table(heads, rows)));
}

function table(heads, rows) {
  const head = heads.map((text) => element("th", { scope: "col" }, text));
  const body = rows.map((cells) =>
    element("tr", {}, ...cells.map(([text, properties]) => element("td", properties ?? {}, text))),
  );
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
}
