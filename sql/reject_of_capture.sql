-- Why one capture was rejected, in the view reject_ledger.
-- $crawl, $file, $at: the capture's crawl, WARC file and offset.
SELECT *
FROM reject_ledger
WHERE crawl = $crawl AND warc_file = $file AND warc_offset = $at
