// What a message shows: its text, and the call of a tool.

import { callOf } from "./conversation.js";
import { element } from "./dom.js";

export const NAMES = { system: "System", user: "You", assistant: "Assistant", tool: "Result" };

export function messageContent(message) {
  const node = element("div", { class: "content" });
  if (message.content || !message.tool_calls) node.append(element("p", {}, message.content));
  const call = callOf(message);
  if (call) node.append(element("p", { class: "call" }, `Calls ${call.name}:`), element("pre", {}, call.input));
  return node;
}
