-- The hosts with the most text on current pages.
-- $files: text tables; $versions: tables of page_versions; $number: how many hosts.
SELECT host, count(*) AS pages, sum(strlen(text))::BIGINT AS bytes
FROM read_parquet($files, hive_partitioning = false)
SEMI JOIN (
    SELECT crawl, warc_file, warc_offset FROM read_parquet($versions, hive_partitioning = false) WHERE state = 'current'
) USING (crawl, warc_file, warc_offset)
GROUP BY host
ORDER BY bytes DESC, host
LIMIT $number
