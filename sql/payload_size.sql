-- Total bytes of the bodies that passed the URL filter.
-- $files: tables of filtered_urls.
SELECT coalesce(sum(payload_bytes), 0)::BIGINT AS bytes
FROM read_parquet($files, hive_partitioning = false)
