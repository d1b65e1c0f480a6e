-- Number of pages and UTF-8 bytes of text in a stage's tables.
-- $files: text tables.
SELECT count(*) AS pages, coalesce(sum(strlen(text)), 0)::BIGINT AS bytes
FROM read_parquet($files, hive_partitioning = false)
