-- How many duplicate clusters there are of each size.
-- $files: cluster tables.
SELECT size, count(*) AS clusters
FROM read_parquet($files, hive_partitioning = false)
WHERE is_kept
GROUP BY size
ORDER BY size
