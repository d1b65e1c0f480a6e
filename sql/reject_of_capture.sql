-- Why one capture was left out, over the view reject_ledger.
-- $crawl, $file, $at: the capture.
SELECT *
FROM reject_ledger
WHERE crawl = $crawl AND warc_file = $file AND warc_offset = $at
