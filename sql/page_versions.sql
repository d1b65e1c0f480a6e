-- Every version of every page over several crawls, and what became of it: one row per version.
-- A version is a text at a URL (of a page without text, a payload). Captures with the same text are one version,
-- whatever changed around it. A version is located at the first of its captures that the clean corpus holds, or, if the
-- corpus holds none, at the first.
-- $captures, $texts, $rejects, $corpus: parquet files of raw_warc, extracted_text, filtered_urls and clean_corpus over
-- the crawls. $crawls: their names, each after the crawl that it continues. $floors: for each, the earliest time that
-- its captures can have, whatever its clock says, since they were made after the crawl that it continues.
WITH crawls AS (
    SELECT unnest($crawls) AS crawl, unnest($floors) AS floor, unnest(range(len($crawls))) AS place
),
answers AS (
    SELECT
        c.url, c.host, c.doc_id, c.crawl, c.warc_file, c.warc_offset, c.fetched_at, c.payload_digest, c.location,
        c.record_type = 'revisit' AS revisit,
        {
            -- A date that cannot be read comes before all others.
            'at': greatest(
                CASE WHEN regexp_matches(c.fetched_at, '^[0-9]{4}-[0-9]{2}-[0-9]{2}T') THEN c.fetched_at ELSE '' END,
                crawls.floor
            ),
            'place': crawls.place,
            'file': c.warc_file,
            'offset': c.warc_offset
        } AS moment,
        CASE
            WHEN c.record_type = 'resource'
                OR c.status = 200
                OR (c.record_type = 'revisit' AND coalesce(c.status, 304) = 304)
                THEN 'page'
            WHEN c.status IN (404, 410, 451) THEN 'vanished'
            WHEN c.status IN (301, 308) THEN 'moved'
        END AS answer
    FROM read_parquet($captures, hive_partitioning = false) AS c JOIN crawls USING (crawl)
    WHERE c.record_type <> 'corrupt' AND c.url <> ''
),
texts AS (
    SELECT crawl, warc_file, warc_offset, md5(text) AS text FROM read_parquet($texts, hive_partitioning = false)
),
payloads AS (
    -- The text in each payload of a URL; a revisit has only the payload's digest.
    SELECT a.url, a.payload_digest, min(t.text) AS text
    FROM answers AS a JOIN texts AS t USING (crawl, warc_file, warc_offset)
    GROUP BY a.url, a.payload_digest
),
originals AS (
    SELECT DISTINCT url, payload_digest FROM answers WHERE answer = 'page' AND NOT revisit
),
informative AS (
    -- A revisit of a payload that none of these crawls holds gives no information: the page's last answer holds.
    SELECT a.* FROM answers AS a LEFT JOIN originals AS o ON o.url = a.url AND o.payload_digest = a.payload_digest
    WHERE a.answer IS NOT NULL AND NOT (a.revisit AND o.url IS NULL)
),
corpus AS (
    SELECT crawl, warc_file, warc_offset, true AS in_corpus FROM read_parquet($corpus, hive_partitioning = false)
),
history AS (
    SELECT
        a.*, coalesce(c.in_corpus, false) AS in_corpus,
        CASE WHEN answer = 'page' THEN coalesce(p.text, a.payload_digest) END AS content,
        lead(a.crawl) OVER later AS next_crawl,
        lead(a.answer) OVER later AS next_answer,
        lead(a.location) OVER later AS next_location
    FROM informative AS a
    LEFT JOIN payloads AS p ON p.url = a.url AND p.payload_digest = a.payload_digest
    LEFT JOIN corpus AS c ON c.crawl = a.crawl AND c.warc_file = a.warc_file AND c.warc_offset = a.warc_offset
    WINDOW later AS (PARTITION BY a.url ORDER BY moment)
),
opted_out AS (
    SELECT DISTINCT url FROM read_parquet($rejects, hive_partitioning = false) WHERE rule IN ('opt_out', 'taken_down')
),
versions AS (
    SELECT
        url, content,
        arg_min(
            {
                'doc_id': doc_id, 'host': host, 'crawl': crawl,
                'warc_file': warc_file, 'warc_offset': warc_offset, 'in_corpus': in_corpus
            },
            {'missing': NOT in_corpus, 'moment': moment}
        ) FILTER (NOT revisit) AS first,
        min(moment) AS since,
        arg_min(fetched_at, moment) AS first_seen, arg_max(fetched_at, moment) AS last_seen,
        arg_max(crawl, moment) AS last_crawl, count(*) AS captures,
        arg_max({'crawl': next_crawl, 'answer': next_answer, 'location': next_location}, moment) AS next
    FROM history
    WHERE answer = 'page'
    GROUP BY url, content
    HAVING count(*) FILTER (NOT revisit) > 0
)
SELECT
    v.first.doc_id AS doc_id, v.url, v.first.host AS host, v.first.crawl AS crawl,
    v.first.warc_file AS warc_file, v.first.warc_offset AS warc_offset,
    row_number() OVER (PARTITION BY v.url ORDER BY v.since) AS version,
    CASE
        WHEN o.url IS NOT NULL THEN 'taken_down'
        WHEN v.next.answer IS NULL THEN 'current'
        WHEN v.next.answer = 'page' THEN 'superseded'
        ELSE v.next.answer
    END AS state,
    v.first_seen, v.last_seen, v.last_crawl, v.captures,
    v.next.crawl AS ended_by,
    CASE WHEN v.next.answer = 'moved' THEN v.next.location END AS moved_to,
    v.first.in_corpus AS in_corpus
FROM versions AS v
LEFT JOIN opted_out AS o ON o.url = v.url
ORDER BY crawl, warc_file, warc_offset
