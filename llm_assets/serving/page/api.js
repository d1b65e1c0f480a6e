// Requests to the server: JSON, and streams of server-sent events.

const KEY = "llm-assets-key";

// status: of HTTP; 0 if the server could not be reached. code: the server's short name of the problem, if there is one.
export class ApiError extends Error {
  constructor(status, message, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let askForKey = async () => null;

// Sets what is called when the server wants a key: ask(isWrong) returns the key, or null. isWrong: the last one was.
export function onKeyWanted(ask) {
  askForKey = ask;
}

export async function getJson(path) {
  return (await send(path, { method: "GET" })).json();
}

export async function getText(path) {
  return (await send(path, { method: "GET" })).text();
}

export async function postJson(path, body, signal) {
  return (await post(path, body, signal)).json();
}

// Yields the value of each event of a stream. Throws ApiError, also for an error within the stream.
export async function* postStream(path, body, signal) {
  const response = await post(path, body, signal);
  let buffered = "";
  for await (const text of chunks(response)) {
    buffered += text;
    const events = buffered.split("\n\n");
    buffered = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const value = JSON.parse(data);
      if (value.error) throw new ApiError(response.status, value.error.message, value.error.code);
      yield value;
    }
  }
  throw new ApiError(0, "The stream ended before the answer was complete.");
}

// Whether an error only says that the user stopped a request.
export function isStop(error) {
  return error.name === "AbortError";
}

async function* chunks(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {}); // the server notices that nobody reads
  }
}

function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return send(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function send(path, options) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (isStop(error)) throw error;
    throw new ApiError(0, "The server cannot be reached. Is it still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) {
    const given = await askForKey(Boolean(key));
    if (given) {
      sessionStorage.setItem(KEY, given);
      return send(path, options);
    }
  }
  const error = (await response.json().catch(() => null))?.error;
  const message = error?.message ?? `The server answered with status ${response.status}.`;
  throw new ApiError(response.status, message, error?.code);
}
