// Pages that others wrote, and reports that quote them: in a frame without scripts, forms, or anything remote.

import { postJson } from "./api.js";
import { element } from "./dom.js";

// A frame that draws what GET `path` answers to `query`. The server's key is not in a frame's requests, so the address
// is one that the server signs.
export async function foreignFrame(title, path, query) {
  const { address } = await postJson("api/frame", { path, query });
  return element("iframe", { class: "foreign", sandbox: "", referrerpolicy: "no-referrer", title, src: address });
}
