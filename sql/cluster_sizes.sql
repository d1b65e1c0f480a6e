-- How many duplicate clusters there are of each size.
-- $files: cluster tables.
SELECT size, count(*) AS clusters
FROM read_parquet($files)
WHERE is_kept
GROUP BY size
ORDER BY size
