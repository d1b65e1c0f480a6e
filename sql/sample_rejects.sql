-- A few rejects of every rule of one stage, with the text that the stage read.
-- $rejects: the stage's reject tables; $texts: the text tables that the stage read; $number: how many of each rule.
WITH chosen AS (
    SELECT crawl, url, rule, value, threshold, warc_file, warc_offset,
        row_number() OVER (PARTITION BY rule ORDER BY md5(doc_id), url, crawl, warc_file, warc_offset) AS place
    FROM read_parquet($rejects, hive_partitioning = false)
)
SELECT c.crawl, c.url, c.rule, c.value, c.threshold, t.text
FROM chosen AS c
LEFT JOIN (SELECT crawl, warc_file, warc_offset, text FROM read_parquet($texts, hive_partitioning = false)) AS t
    USING (crawl, warc_file, warc_offset)
WHERE c.place <= $number
ORDER BY c.rule, c.place
