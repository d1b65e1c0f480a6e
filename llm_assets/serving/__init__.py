"""The OpenAI-compatible API: checkpoints served over HTTP, with concurrent requests sampled together."""
