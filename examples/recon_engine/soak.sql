-- The divergence scan, in SQL that anyone can run: one row per fire of the old check, with the live run nearest to it and how the two compare.
--
--   psql "$RECON_ENGINE_LOG" -v old=transactions-balance -v live=transactions-balance-live -v from=2026-06-15 -v until=2026-07-13 \
--        -v zone=US/Eastern -v times='{16:05,16:20}' -v cycles=off -f soak.sql
--
-- from and until: UTC. times: of the old check's fires on each day in its zone; the fires come from here and not from the record, so that missing rows
-- show. cycles=on: join on the mark cycle (pnl-is-zero-sum). `recon_engine soak` says the same with episodes, criteria and a decision; a test holds the two
-- against each other. Where clocks skip a time of day, this says an hour later and the schedule says the gap's end.
WITH bounds AS (
  SELECT :'from'::timestamp AT TIME ZONE 'UTC' AS begins, :'until'::timestamp AT TIME ZONE 'UTC' AS ends
), fires AS (
  SELECT (day + time_of_day) AT TIME ZONE :'zone' AS fire
  FROM bounds,
       generate_series((begins AT TIME ZONE :'zone')::date::timestamp, (ends AT TIME ZONE :'zone')::date::timestamp, interval '1 day') AS day,
       unnest(:'times'::time[]) AS time_of_day
), scheduled AS (
  SELECT fire FROM fires, bounds WHERE fire >= begins AND fire < ends
), runs AS (
  SELECT *,
         CASE WHEN event_key ~ '^[0-9]{1,18}$' THEN event_key::numeric
              WHEN event_key = '' AND stream = 'mark_cycles' THEN epoch_sequence END AS cycle
  FROM recon_engine.invariants_log WHERE trigger IN ('cron', 'event')
), old_runs AS (
  SELECT fire, o.* FROM scheduled
  LEFT JOIN LATERAL (
    SELECT run_id AS old_run, status AS old_status, started AS old_started, epoch_sequence AS old_epoch, stream AS old_stream, cycle AS old_cycle,
           left_values AS old_left, right_values AS old_right
    FROM runs WHERE check_id = :'old' AND abs(extract(epoch FROM scheduled - fire)) <= 0.5
    ORDER BY abs(extract(epoch FROM scheduled - fire)), scheduled DESC LIMIT 1) AS o ON true
), paired AS (
  SELECT * FROM old_runs
  LEFT JOIN LATERAL (
    SELECT run_id AS live_run, status AS live_status, scheduled AS live_scheduled, started AS live_started, epoch_sequence AS live_epoch,
           stream AS live_stream, left_values AS live_left, right_values AS live_right
    FROM runs
    WHERE check_id = :'live'
      AND CASE WHEN :'cycles' = 'on' AND old_cycle IS NOT NULL THEN cycle = old_cycle ELSE abs(extract(epoch FROM scheduled - fire)) <= 600 END
    ORDER BY abs(extract(epoch FROM scheduled - fire)), scheduled DESC LIMIT 1) AS l ON true
  LEFT JOIN LATERAL (
    SELECT run_id AS asserting_run, status AS asserting_status
    FROM runs
    WHERE check_id = :'live' AND status IN ('pass', 'fail')
      AND CASE WHEN :'cycles' = 'on' AND old_cycle IS NOT NULL THEN cycle = old_cycle ELSE abs(extract(epoch FROM scheduled - fire)) <= 600 END
    ORDER BY abs(extract(epoch FROM scheduled - fire)), scheduled DESC LIMIT 1) AS a ON true
), compared AS (
  SELECT *,
         CASE WHEN old_epoch IS DISTINCT FROM live_epoch OR old_epoch IS NULL OR old_stream <> live_stream OR old_left = '' OR live_left = '' OR old_right = ''
                OR live_right = '' THEN 'values_not_comparable'
              WHEN old_left = live_left AND old_right = live_right THEN 'values_same'
              ELSE 'values_differ' END AS values_compare
  FROM paired
)
SELECT fire,
       CASE WHEN old_status IS NULL THEN 'old_missed'
            WHEN live_status IS NULL THEN 'unpaired'
            WHEN live_status IN ('error', 'skipped') THEN 'live_no_assert'
            WHEN old_status IN ('error', 'skipped') THEN 'old_no_assert'
            WHEN old_status = 'pass' AND live_status = 'fail' THEN 'false_alarm?'
            WHEN old_status = 'fail' AND live_status = 'pass' THEN 'miss?'
            WHEN old_status = 'fail' THEN 'both_fail'
            WHEN values_compare = 'values_differ' THEN 'agree_values_differ'
            ELSE 'agree' END AS class,
       old_run, old_status, live_run, live_status, asserting_run, asserting_status, values_compare, old_epoch, live_epoch,
       abs(extract(epoch FROM live_scheduled - fire)) AS apart_seconds, extract(epoch FROM live_started - old_started) AS skew_seconds
FROM compared ORDER BY fire;
