// Guidelines in Markdown as elements: headings, paragraphs and lists. All else stays text.

import { element } from "./dom.js";

export function guidelinesText(markdown) {
  return markdown
    .split(/\n\s*\n/)
    .filter((block) => block.trim())
    .map(block);
}

function block(text) {
  const heading = /^#+ /.exec(text);
  if (heading) {
    const [first, ...rest] = text.split("\n");
    return element("div", {}, element("h3", {}, first.slice(heading[0].length)), ...(rest.length ? [lines(rest)] : []));
  }
  return lines(text.split("\n"));
}

// Lines of examples, such as "Asked: …", are a list; others are a paragraph.
function lines(all) {
  const items = all.filter((line) => line.trim());
  if (items.every((line) => /^(- |[A-Z]\w+: )/.test(line))) {
    return element("ul", {}, ...items.map((line) => element("li", {}, line.replace(/^- /, ""))));
  }
  return element("p", {}, items.join(" "));
}
