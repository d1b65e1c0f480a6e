"""From captures to a corpus: URL filter, extraction, language, quality, deduplication, personal data, the ledger."""
