// What checkpoints were built from, what that cost, and how the configs on the way differ.

import { element, number } from "./dom.js";
import { table } from "./table.js";
import { count, duration, size } from "./units.js";

// A checkpoint's lineage with its cost, folded; null is that of a folder that is no artifact. model: its name.
export function lineagePanel(model, lineage) {
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
    build.key,
    build.identity,
    duration(build.cost.seconds),
    build.cost.flops ? count(build.cost.flops) : "–",
    build.tokens ? count(build.tokens) : "–",
    size(build.cost.bytes),
  ]);
  const numbers = ["Time", "FLOPs", "Tokens", "Size"].map((title) => ({ title, numeric: true }));
  const columns = [{ title: "Artifact", breakable: true }, { title: "Identity" }, ...numbers];
  return element(
    "details",
    {},
    element("summary", {}, `Cost with everything it was built from: ${facts.filter(Boolean).join(", ")}`),
    missing.length ? element("p", {}, `No longer in the store, and not counted: ${missing.join(", ")}.`) : "",
    table(`Lineage of ${model}, upstream first`, columns, rows),
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
  const rows = differences.map(({ asset, field, values }) => [asset, field, ...values]);
  const named = ["Field", ...models.map(({ model }) => model)].map((title) => ({ title, breakable: true }));
  return element("section", {}, title, table("Configs that differ", [{ title: "Asset" }, ...named], rows));
}
