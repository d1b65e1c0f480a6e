-- Captures that are not accounted for exactly once (up to 20): each must be kept once or rejected once.
-- $captures: the capture index; $kept: tables of the last stage; $rejects: the ledger.
WITH accounted AS (
    SELECT warc_file, warc_offset, count(*) AS times
    FROM (
        SELECT warc_file, warc_offset FROM read_parquet($kept, hive_partitioning = false)
        UNION ALL
        SELECT warc_file, warc_offset FROM read_parquet($rejects, hive_partitioning = false)
    )
    GROUP BY ALL
)
SELECT c.warc_file, c.warc_offset, c.url, coalesce(a.times, 0) AS times
FROM (SELECT warc_file, warc_offset, url FROM read_parquet($captures, hive_partitioning = false)) AS c
FULL JOIN accounted AS a USING (warc_file, warc_offset)
WHERE coalesce(a.times, 0) <> 1 OR c.url IS NULL
ORDER BY ALL
LIMIT 20
