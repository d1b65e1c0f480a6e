"""Conversations: file formats, rendering to tokens, packing, transcripts, labelling guidelines."""
