"""Checkpoints served over HTTP: OpenAI's API, with concurrent requests sampled together, and a page for people."""
