-- Each revisit of a crawl with the place of its original: a response with the same URL and payload digest, the nearest
-- in time before the date that the revisit names (else after it), or the first in file order where it names none.
-- Digests of different algorithms cannot be compared, and the digest of nothing, which some crawlers give a 304, says
-- nothing. Then the original is the response of the URL at exactly the date that the revisit names, or, where it names
-- none, the last page (status 200) of the URL before the revisit itself. Dates are compared by the second.
-- $all_files: captures of this crawl and of the crawls it continues; $crawl: this crawl; $empty_digests: list of the
-- digests of nothing.
WITH captures AS (
    SELECT
        crawl, warc_file, warc_offset, record_type, url, status, payload_digest, declared_digest,
        coalesce(refers_to_uri, url) AS original_url,
        [
            CASE
                WHEN regexp_matches(d, '[+-]\d\d:?\d\d$') THEN epoch(try_cast(d AS TIMESTAMPTZ))
                ELSE epoch(coalesce(try_cast(upper(d) AS TIMESTAMP), try_strptime(d, '%Y%m%d%H%M%S')))
            END // 1
            FOR d IN [fetched_at, refers_to_date]
        ] AS seconds,
        seconds[1] AS fetched, seconds[2] AS referred
    FROM read_parquet($all_files, hive_partitioning = false)
),
revisits AS (
    SELECT
        r.* REPLACE (
            CASE WHEN NOT list_contains($empty_digests, payload_digest) THEN payload_digest ELSE '' END
            AS payload_digest
        ),
        payload_digest AS stated_digest
    FROM captures r
    WHERE crawl = $crawl AND record_type = 'revisit'
),
pairs AS (
    SELECT
        r.warc_file, r.warc_offset, r.url, r.stated_digest, r.fetched AS revisited, r.referred,
        o.crawl AS original_crawl, o.warc_file AS original_file, o.warc_offset AS original_offset, o.status, o.fetched,
        r.payload_digest IN (o.payload_digest, o.declared_digest) IS TRUE AND r.payload_digest <> '' AS is_same,
        split_part(r.payload_digest, ':', 1) IN (
            split_part(o.payload_digest, ':', 1), split_part(o.declared_digest, ':', 1)
        ) IS TRUE AND r.payload_digest <> '' AS is_comparable
    FROM revisits r
    LEFT JOIN captures o ON o.url = r.original_url AND o.record_type = 'response'
),
matches AS (
    SELECT
        *,
        is_same OR (NOT is_comparable AND CASE
            WHEN referred IS NOT NULL THEN fetched = referred
            ELSE fetched <= revisited AND status = 200
        END) IS TRUE AS is_original,
        coalesce(referred, CASE WHEN NOT is_same THEN revisited END) AS sought
    FROM pairs
),
ranked AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY warc_file, warc_offset
            ORDER BY
                is_original DESC, is_same DESC,
                fetched <= sought DESC NULLS LAST, abs(fetched - sought) NULLS LAST,
                original_crawl = $crawl DESC NULLS LAST,
                original_crawl DESC, original_file, original_offset
        ) AS rank
    FROM matches
)
SELECT
    warc_file, warc_offset, url, stated_digest AS payload_digest,
    CASE WHEN is_original THEN original_crawl END AS original_crawl,
    CASE WHEN is_original THEN original_file END AS original_file,
    CASE WHEN is_original THEN original_offset END AS original_offset
FROM ranked
WHERE rank = 1
ORDER BY warc_file, warc_offset
