-- Bytes of the bodies that passed the URL filter.
-- $files: url tables.
SELECT coalesce(sum(payload_bytes), 0)::BIGINT AS bytes
FROM read_parquet($files)
