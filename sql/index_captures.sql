-- The captures of one file of Common Crawl's index that a source selects.
-- $index_file: the file. $domains, $hosts, $prefixes: one of them must match, unless all three are empty.
-- $languages, $mimes, $statuses: an empty list selects all. $fetched_from, $fetched_before: null for no bound.
-- $sample: the MD5 digest, in hexadecimal digits, below which those of the selected URLs are; null selects all.
SELECT
    file_row_number,
    url_surtkey,
    url,
    strftime(fetch_time::TIMESTAMPTZ AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS fetched_at,
    fetch_status::SMALLINT AS status,
    content_mime_detected AS mime,
    content_languages AS languages,
    content_digest AS payload_digest,
    warc_filename AS source_file,
    warc_record_offset::BIGINT AS source_offset,
    warc_record_length::BIGINT AS source_length
FROM read_parquet($index_file, file_row_number = true, hive_partitioning = false)
WHERE (
        len($domains::VARCHAR[]) + len($hosts::VARCHAR[]) + len($prefixes::VARCHAR[]) = 0
        OR len(list_filter($domains::VARCHAR[], lambda d: url_host_name = d OR ends_with(url_host_name, '.' || d))) > 0
        OR list_contains($hosts::VARCHAR[], url_host_name)
        OR len(list_filter($prefixes::VARCHAR[], lambda p: starts_with(url, p))) > 0
    )
    AND (len($languages::VARCHAR[]) = 0 OR list_contains($languages::VARCHAR[], split_part(content_languages, ',', 1)))
    AND (len($mimes::VARCHAR[]) = 0 OR list_contains($mimes::VARCHAR[], content_mime_detected))
    AND (len($statuses::SMALLINT[]) = 0 OR list_contains($statuses::SMALLINT[], fetch_status::SMALLINT))
    AND ($fetched_from::TIMESTAMPTZ IS NULL OR fetch_time::TIMESTAMPTZ >= $fetched_from::TIMESTAMPTZ)
    AND ($fetched_before::TIMESTAMPTZ IS NULL OR fetch_time::TIMESTAMPTZ < $fetched_before::TIMESTAMPTZ)
    AND ($sample::VARCHAR IS NULL OR md5(url) < $sample::VARCHAR)
