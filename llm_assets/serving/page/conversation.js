// A conversation as a list of messages in OpenAI's format, and the answers that are streamed into it.

import { postStream } from "./api.js";

// What a tool takes, by its name.
const ARGUMENTS = { search: "query", python: "code" };
const ROLES = ["system", "user", "assistant", "tool"];

// Streams the assistant's next messages onto the end of `messages`: its texts, its calls, and their results. Yields the
// message that has just grown. The last yield has the reason why the answer ended, as `finish`.
export async function* streamAnswer(messages, request, signal) {
  let message = null;
  const append = (role, fields) => {
    message = { role, content: "", ...fields };
    messages.push(message);
  };
  for await (const chunk of postStream("v1/chat/completions", { ...request, stream: true }, signal)) {
    const { delta, finish_reason: finish } = chunk.choices[0];
    if (delta.content) {
      if (message?.role !== "assistant") append("assistant");
      // After a result, the text begins with the space that the chat protocol puts there.
      const begins = message.content === "" && messages.at(-2)?.role === "tool";
      message.content += begins ? delta.content.replace(/^ /, "") : delta.content;
    }
    for (const call of delta.server_tool_calls ?? []) {
      if (message?.role !== "assistant") append("assistant");
      const id = `call_${messages.length}`;
      const text = JSON.stringify({ [ARGUMENTS[call.type]]: call.input });
      message.tool_calls = [{ id, type: "function", function: { name: call.type, arguments: text } }];
      append("tool", { tool_call_id: id, content: call.output });
    }
    if (message) yield { message, finish };
    else if (finish) yield { message: null, finish };
  }
}

// Removes what follows the last message of the user, so that it can be answered again.
export function removeLastAnswer(messages) {
  while (messages.length && messages.at(-1).role !== "user") messages.pop();
}

// Removes messages at the end that have neither text nor a call; the chat protocol has none.
export function removeEmptyEnd(messages) {
  const last = messages.at(-1);
  if (last?.role === "assistant" && !last.content.trim() && !last.tool_calls) messages.pop();
}

// The tool and the input of a message's call.
export function callOf(message) {
  const called = message.tool_calls?.[0]?.function;
  return called ? { name: called.name, input: Object.values(JSON.parse(called.arguments))[0] } : null;
}

// The system prompt and the messages, as a request has them.
export function wholeConversation(system, messages) {
  return system.trim() ? [{ role: "system", content: system }, ...messages] : messages;
}

export function toJson(model, settings, messages) {
  return JSON.stringify({ model, settings, messages }, null, 2);
}

// The inverse of toJson: model, settings, system prompt and messages. Throws an error that says what is wrong.
export function fromJson(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`The file is not JSON: ${error.message}`);
  }
  if (!Array.isArray(value?.messages)) throw new Error("The file has no list “messages”.");
  value.messages.forEach(checkMessage);
  const [first, ...rest] = value.messages;
  const hasSystem = first?.role === "system";
  return {
    model: value.model,
    settings: value.settings ?? {},
    system: hasSystem ? first.content : "",
    messages: hasSystem ? rest : value.messages,
  };
}

function checkMessage(message, place) {
  const wrong = (what) => {
    throw new Error(`Message ${place + 1} of the file ${what}.`);
  };
  if (!ROLES.includes(message?.role)) wrong("has no role that is known");
  if (message.content === null && message.tool_calls) message.content = ""; // as OpenAI's API answers with a call
  if (typeof message.content !== "string") wrong("has no text");
  try {
    if (message.tool_calls && typeof callOf(message).input !== "string") wrong("has a call without an input");
  } catch {
    wrong("has a call that cannot be read");
  }
}
