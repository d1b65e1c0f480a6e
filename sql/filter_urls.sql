-- The verdict on each capture of one WARC file: `rule` is NULL for a kept capture, else the first rule it breaks.
-- No page body is read.
-- $captures, $domains, $words, $opt_out: parquet files; $mime_types: list; $soft_word_limit: number;
-- $substrings: an alternation of the substring words, or NULL.
WITH captures AS (
    SELECT
        *,
        -- Percent-decoded as UTF-8; each byte that is none becomes U+FFFD (WHATWG URL, "percent-decode", and Encoding,
        -- "UTF-8 decode without BOM"). Escapes in other encodings are common, and url_decode raises an error for them,
        -- so it decodes the characters of the URL one by one.
        -- The made URL of a text names the user's own file, whose words say nothing about the text.
        lower(CASE WHEN starts_with(url, 'text://') THEN '' WHEN contains(url, '%') THEN array_to_string(
            [
                coalesce(try(url_decode(part)), chr(65533)) FOR part IN regexp_extract_all(
                    url,
                    '[^%]+|%[0-7][[:xdigit:]]|%[CDcd][[:xdigit:]]%[89ABab][[:xdigit:]]'
                    || '|%[Ee][[:xdigit:]](?:%[89ABab][[:xdigit:]]){2}|%[Ff][[:xdigit:]](?:%[89ABab][[:xdigit:]]){3}'
                    || '|%[[:xdigit:]]{2}|%'
                )
            ],
            ''
        ) ELSE url END) AS plain_url,
        regexp_replace(url, '^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*', '') AS path
    FROM read_parquet($captures, hive_partitioning = false)
),
hosts AS (
    -- Every host with itself and all domains above it, since a listed domain includes its subdomains.
    SELECT host, unnest([array_to_string(labels[i:], '.') FOR i IN range(1, len(labels) + 1)]) AS domain
    FROM (SELECT DISTINCT host, string_split(host, '.') AS labels FROM captures WHERE host <> '')
),
blocked AS (
    SELECT host, min_by(category, (category, d.domain)) AS category, min_by(d.domain, (category, d.domain)) AS domain
    FROM hosts JOIN read_parquet($domains, hive_partitioning = false) AS d USING (domain)
    GROUP BY host
),
opted_out AS (
    SELECT c.warc_offset, min(o.rule) AS rule
    FROM captures AS c
    JOIN hosts AS h ON h.host = c.host
    JOIN read_parquet($opt_out, hive_partitioning = false) AS o
        ON o.host = h.domain AND (o.kind = 'domain' OR (
            o.host = c.host AND starts_with(c.host || c.path, o.rule)
            -- A prefix ends at a separator of the URL: site.example/art does not include site.example/article.
            AND (right(o.rule, 1) IN ('/', '?', '#', '&', '=')
                OR substr(c.host || c.path, len(o.rule) + 1, 1) IN ('', '/', '?', '#', '&'))
        ))
    GROUP BY c.warc_offset
),
url_words AS (
    SELECT warc_offset, unnest(list_distinct(regexp_split_to_array(plain_url, '[^\p{L}\p{N}]+'))) AS word
    FROM captures
),
listed_words AS (
    SELECT u.warc_offset, w.kind, list(DISTINCT w.word ORDER BY w.word) AS words
    FROM url_words AS u
    JOIN read_parquet($words, hive_partitioning = false) AS w ON w.word = u.word AND w.kind <> 'substrings'
    GROUP BY u.warc_offset, w.kind
),
judged AS (
    SELECT
        c.*,
        CASE
            WHEN record_type = 'corrupt'
                THEN {'rule': 'corrupt_record', 'value': coalesce(error, ''), 'threshold': ''}
            WHEN record_type = 'taken_down'
                THEN {'rule': 'taken_down', 'value': coalesce(opted_out.rule, ''), 'threshold': ''}
            WHEN record_type = 'revisit'
                THEN {
                    'rule': 'revisit',
                    'value': coalesce(refers_to_uri, '') || ' ' || coalesce(refers_to_date, ''),
                    'threshold': ''
                }
            WHEN record_type = 'response' AND c.host <> '' AND starts_with(lower(url), 'http') AND status IS NULL
                THEN {'rule': 'malformed_http', 'value': '', 'threshold': 'an HTTP status line'}
            WHEN record_type = 'response' AND status IS NOT NULL AND status <> 200
                THEN {'rule': 'status', 'value': status::VARCHAR, 'threshold': '200'}
            WHEN mime IS NOT NULL AND NOT list_contains($mime_types, mime)
                THEN {'rule': 'mime', 'value': mime, 'threshold': array_to_string($mime_types, ' ')}
            WHEN opted_out.rule IS NOT NULL
                THEN {'rule': 'opt_out', 'value': opted_out.rule, 'threshold': ''}
            WHEN blocked.category IS NOT NULL
                THEN {'rule': blocked.category, 'value': blocked.domain, 'threshold': ''}
            WHEN hard.words IS NOT NULL
                THEN {'rule': 'hard_word', 'value': array_to_string(hard.words, ' '), 'threshold': '1'}
            WHEN len(soft.words) >= $soft_word_limit
                THEN {
                    'rule': 'soft_word',
                    'value': array_to_string(soft.words, ' '),
                    'threshold': $soft_word_limit::VARCHAR
                }
            WHEN $substrings IS NOT NULL AND regexp_matches(plain_url, $substrings)
                THEN {'rule': 'substring', 'value': regexp_extract(plain_url, $substrings), 'threshold': '1'}
        END AS verdict
    FROM captures AS c
    LEFT JOIN blocked ON blocked.host = c.host
    LEFT JOIN opted_out ON opted_out.warc_offset = c.warc_offset
    LEFT JOIN listed_words AS hard ON hard.warc_offset = c.warc_offset AND hard.kind = 'hard_words'
    LEFT JOIN listed_words AS soft ON soft.warc_offset = c.warc_offset AND soft.kind = 'soft_words'
)
SELECT
    doc_id, url, host, crawl, warc_file, warc_offset, fetched_at, warc_length, registered_domain, record_type, mime,
    charset, payload_bytes, 'filtered_urls' AS stage,
    verdict.rule AS rule, verdict.value AS value, verdict.threshold AS threshold
FROM judged
ORDER BY warc_offset
