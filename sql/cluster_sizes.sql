-- Duplicate clusters by their size.
-- $files: cluster tables.
SELECT size, count(*) AS clusters
FROM read_parquet($files)
WHERE kept
GROUP BY size
ORDER BY size
