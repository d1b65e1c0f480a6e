-- Each revisit of a crawl with the location of its original, a response with the same URL and payload digest. Preferred
-- is the response at the date that the revisit names, then one of this crawl, then the latest crawl; then file order.
-- $files: captures of this crawl; $all_files: those and the captures of the crawls it continues; $crawl: this crawl.
WITH revisits AS (
    SELECT warc_file, warc_offset, url, payload_digest, coalesce(refers_to_uri, url) AS original_url, refers_to_date
    FROM read_parquet($files)
    WHERE record_type = 'revisit'
),
originals AS (
    SELECT crawl, warc_file, warc_offset, url, payload_digest, fetched_at
    FROM read_parquet($all_files)
    WHERE record_type = 'response'
),
matches AS (
    SELECT
        r.warc_file, r.warc_offset, r.url, r.payload_digest,
        o.crawl AS original_crawl, o.warc_file AS original_file, o.warc_offset AS original_offset,
        row_number() OVER (
            PARTITION BY r.warc_file, r.warc_offset
            ORDER BY
                o.fetched_at = r.refers_to_date DESC NULLS LAST,
                o.crawl = $crawl DESC NULLS LAST,
                o.crawl DESC, o.warc_file, o.warc_offset
        ) AS rank
    FROM revisits r
    LEFT JOIN originals o ON o.url = r.original_url AND o.payload_digest = r.payload_digest
)
SELECT warc_file, warc_offset, url, payload_digest, original_crawl, original_file, original_offset
FROM matches
WHERE rank = 1
ORDER BY warc_file, warc_offset
