// One capture: why it is kept or was rejected, its page beside its text, and its duplicates and versions.

import { getText, getJson } from "./api.js";
import { queryOf } from "./address.js";
import { announce, button, element, number } from "./dom.js";
import { documentAddress, rejectText } from "./data_documents.js";
import { foreignFrame } from "./foreign.js";
import { facts, table } from "./table.js";

const PERSONAL_DATA = ["email", "ip_address", "ssn", "credit_card", "phone", "iban"]; // columns of the clean corpus
const PLACEHOLDER = /(<(?:EMAIL|IP_ADDRESS|SSN|CREDIT_CARD|PHONE|IBAN)>)/;
const WITH_REMOVED = "what was removed";
const REMOVED_BY = { extraction: "removed when the text was extracted", quality: "removed by the quality filter" };

export function createPart() {
  return new CaptureHistory();
}

class CaptureHistory {
  constructor() {
    this.node = element("article", { "aria-label": "Document" });
    this.request = 0;
  }

  async show({ crawl, file, offset }) {
    const current = ++this.request;
    this.node.replaceChildren(element("p", { class: "soft" }, "The document is being read."));
    const body = await getJson(`api/data/document?${queryOf({ crawl, file, offset })}`);
    if (current !== this.request) return;
    const title = element("h2", { tabindex: "-1" }, body.title || body.capture.url);
    this.node.replaceChildren(
      title,
      element("p", {}, this.state(body)),
      this.facts(body),
      this.brokenRules(body.broken_rules),
      element("div", { class: "sides" }, this.page(queryOf({ crawl, file, offset })), this.text(body)),
      this.duplicates(body.cluster),
      this.versions(body.versions),
    );
    title.focus();
    announce(`${title.textContent}: ${body.state}`);
  }

  state({ state, reject }) {
    const texts = {
      kept: "kept: it is in the clean corpus",
      rejected: reject && rejectText(reject),
      unknown: "neither in the clean corpus nor among the rejects",
    };
    return element("span", { class: `state ${state}` }, texts[state]);
  }

  facts({ capture, page }) {
    const replaced = PERSONAL_DATA.filter((kind) => page?.[kind]).map((kind) => `${number(page[kind])} × ${kind}`);
    return facts([
      ["URL", capture.url],
      ["Crawl", capture.crawl],
      ["WARC file", `${capture.warc_file}, offset ${number(capture.warc_offset)}`],
      ["Fetched", capture.fetched_at],
      ["Answer", [capture.status, capture.mime].filter(Boolean).join(", ")],
      ["Language", page?.language],
      ["Personal data replaced", page ? replaced.join(", ") || "none" : null],
    ]);
  }

  brokenRules(rules) {
    if (!rules.length) return "";
    const columns = [
      { title: "Rule" },
      { title: "Value", numeric: true },
      { title: "Drops a page" },
      { title: "Threshold", numeric: true },
      { title: "Source" },
    ];
    const rows = rules.map(({ rule, value, drops, threshold, source }) => [
      rule,
      number(value, 3),
      drops.replaceAll("_", " "),
      String(threshold),
      source,
    ]);
    return element(
      "section",
      {},
      element("h3", {}, "Quality rules that the page breaks"),
      table("Quality rules that the page breaks", columns, rows),
    );
  }

  // The page as it was crawled: drawn in a frame, or its source.
  page(query) {
    const place = element("div", {}, element("p", { class: "soft" }, "The page is being read."));
    const forms = {
      Page: () => foreignFrame("The page as it was crawled", "api/data/raw", `${query}&form=page`),
      Source: async () => {
        const label = "Source of the page";
        const properties = { class: "reader source", tabindex: "0", role: "region", "aria-label": label };
        return element("pre", properties, await getText(`api/data/raw?${query}&form=source`));
      },
    };
    const choose = async (name) => {
      place.replaceChildren(await forms[name]());
    };
    const head = element("h3", {}, "As it was crawled");
    // The source is asked for first: a frame could not show why there is no page.
    const first = getText(`api/data/raw?${query}&form=source`);
    first.then(
      () => choose("Page"),
      (error) => place.replaceChildren(element("p", {}, error.message)),
    );
    const buttons = toggles("Form", Object.keys(forms), choose);
    return element("section", { "aria-label": "As it was crawled" }, head, buttons, place);
  }

  // The text that was extracted: with what was removed from the page, or as a stage left it.
  text({ parts, texts }) {
    const names = [...(parts.length ? [WITH_REMOVED] : []), ...Object.keys(texts).reverse()];
    const place = element("div", { class: "reader", tabindex: "0", role: "region", "aria-label": "Text" });
    const choose = (name) => {
      if (name === WITH_REMOVED) place.replaceChildren(...parts.map(part));
      else place.replaceChildren(...texts[name].split("\n").map((line) => element("p", {}, ...marked(line))));
    };
    if (names.length) choose(names[0]);
    else place.append(element("p", {}, "No text was extracted."));
    const head = element("h3", {}, "Extracted text");
    return element("section", { "aria-label": "Extracted text" }, head, toggles("Text to show", names, choose), place);
  }

  duplicates(cluster) {
    if (!cluster.length) return "";
    const columns = [
      { title: "URL" },
      { title: "Crawl" },
      { title: "Relation" },
      { title: "Shared bands", numeric: true },
    ];
    const rows = cluster.map((row) => [
      element("a", { href: documentAddress(row) }, row.url),
      row.crawl,
      row.relation,
      number(row.shared_bands),
    ]);
    return element(
      "section",
      {},
      element("h3", {}, `Duplicates: ${number(cluster[0].size)} pages, of which one is kept`),
      table("Duplicates", columns, rows),
    );
  }

  versions(versions) {
    if (!versions.length) return "";
    const columns = [
      { title: "Version", numeric: true },
      { title: "State" },
      { title: "First seen" },
      { title: "Last seen" },
      { title: "In the corpus" },
    ];
    const rows = versions.map((row) => [
      element("a", { href: documentAddress(row) }, String(row.version)),
      row.state.replaceAll("_", " "),
      row.first_seen,
      row.last_seen,
      row.in_corpus ? "yes" : "no",
    ]);
    return element(
      "section",
      {},
      element("h3", {}, "Versions of this page"),
      table("Versions of this page", columns, rows),
    );
  }
}

// Buttons of which one is pressed.
function toggles(label, names, choose) {
  const buttons = names.map((name, place) => {
    const press = () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === buttons[place]));
      return choose(name);
    };
    return button(name, press, { "aria-pressed": String(place === 0) });
  });
  return element("div", { class: "row toggles", role: "group", "aria-label": label }, ...buttons);
}

function part({ text, removed_by: removedBy }) {
  if (!removedBy) return element("p", {}, ...marked(text));
  const label = element("span", { class: "soft" }, ` (${REMOVED_BY[removedBy] ?? removedBy})`);
  return element("p", { class: "removed" }, element("del", {}, ...marked(text)), label);
}

// A text with its placeholders of personal data marked.
function marked(text) {
  return text.split(PLACEHOLDER).map((piece) => (PLACEHOLDER.test(piece) ? element("mark", {}, piece) : piece));
}
