-- How many pages of the corpus are lost (they are no version, and no other capture of their URL is read), and how many
-- are read although another page of their URL is: a row for each problem that there is, with the first 20 URLs.
-- $versions: tables of page_versions; $corpus: text tables of the clean corpora.
WITH versions AS (
    SELECT url, crawl, warc_file, warc_offset, state = 'current' AND in_corpus AS is_read
    FROM read_parquet($versions, hive_partitioning = false)
),
lost AS (
    SELECT url
    FROM (SELECT url, crawl, warc_file, warc_offset FROM read_parquet($corpus, hive_partitioning = false))
    ANTI JOIN versions USING (crawl, warc_file, warc_offset)
    ANTI JOIN (SELECT url FROM versions WHERE is_read) USING (url)
),
problems AS (
    SELECT 'lost' AS problem, url, count(*) AS pages FROM lost GROUP BY url
    UNION ALL
    SELECT 'read twice', url, count(*) FROM versions WHERE is_read GROUP BY url HAVING count(*) > 1
)
SELECT problem, sum(pages)::BIGINT AS pages, min(url, 20) AS urls
FROM problems
GROUP BY problem
