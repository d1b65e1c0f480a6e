"""Conversations: file formats, rendering to tokens, packing into sequences, transcripts, and labelling guidelines."""
