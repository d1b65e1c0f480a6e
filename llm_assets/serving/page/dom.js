// Builds the page. Texts only ever become text nodes and attributes, so that no text can become HTML.

// An element. Properties: "on…" functions listen to events; true sets an empty attribute; null and false set none.
export function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function button(text, onclick, properties = {}) {
  return element("button", { type: "button", onclick, ...properties }, text);
}

// A labelled input; the label's text comes first.
export function field(label, input) {
  return element("label", { class: "field" }, `${label} `, input);
}

export function number(value, digits = 0) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function percent(probability) {
  const share = 100 * probability;
  return `${share < 0.1 ? "< 0.1" : number(share, 1)} %`;
}

// Moves the keyboard's focus to a node if what had it is gone, hidden or disabled, so that it is not lost.
export function keepFocus(node) {
  const active = document.activeElement;
  const isLost = !active || active === document.body || !active.checkVisibility() || active.matches(":disabled");
  if (isLost) node?.focus({ preventScroll: true });
}

// What is happening, for screen readers.
export function announce(text) {
  document.getElementById("status").textContent = text;
}

export function showProblem(error) {
  const place = document.getElementById("problem");
  const message = error instanceof Error ? error.message : String(error);
  place.replaceChildren(
    element("p", {}, message),
    button("Dismiss", () => {
      clearProblem();
      keepFocus(document.getElementById("main"));
    }),
  );
}

export function clearProblem() {
  document.getElementById("problem").replaceChildren();
}

export async function copy(text) {
  try {
    await (navigator.clipboard ? navigator.clipboard.writeText(text) : copySelected(text));
    announce("Copied");
  } catch (error) {
    showProblem(new Error(`The browser does not allow copying: ${error.message}`));
  }
}

// Without https, browsers give the clipboard only to pages of this machine.
function copySelected(text) {
  const { activeElement } = document;
  const input = element("textarea", { class: "unseen", "aria-hidden": "true" });
  input.value = text;
  document.body.append(input);
  input.select();
  const isCopied = document.execCommand("copy");
  input.remove();
  activeElement?.focus({ preventScroll: true });
  if (!isCopied) throw new Error("the page is not served over https");
}

export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  element("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}
