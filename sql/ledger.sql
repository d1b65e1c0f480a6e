-- All rejects of one WARC file over the stages, in file order.
-- $rejects: the reject tables of the stages.
SELECT doc_id, url, host, crawl, warc_file, warc_offset, fetched_at, stage, rule, value, threshold
FROM read_parquet($rejects, hive_partitioning = false)
ORDER BY warc_offset, stage
