-- The record of every run, and what people have said of it. One row per run; nothing here is ever updated but an adjudication.
-- Runs in the schema recon_engine; rights go to the role recon_log, which writes here and nowhere else.
CREATE TABLE recon_engine.invariants_log (
  run_id text COLLATE "C" PRIMARY KEY,
  check_id text COLLATE "C" NOT NULL,
  trigger text COLLATE "C" NOT NULL CHECK (trigger IN ('cron', 'event', 'manual', 'canary')),
  event_key text COLLATE "C" NOT NULL,
  scheduled timestamptz NOT NULL,
  started timestamptz NOT NULL,
  finished timestamptz NOT NULL,
  paging boolean NOT NULL,
  status text COLLATE "C" NOT NULL CHECK (status IN ('pass', 'fail', 'error', 'skipped')),
  reason text COLLATE "C" NOT NULL,
  message text NOT NULL,
  unsynchronised boolean NOT NULL,
  confirmed boolean NOT NULL,
  retryable boolean NOT NULL,
  stream text COLLATE "C" NOT NULL,
  authority text COLLATE "C" NOT NULL,
  generation numeric(20, 0) NOT NULL,
  epoch_sequence numeric(20, 0),
  epoch_ns bigint,
  left_witness text COLLATE "C" NOT NULL,
  right_witness text COLLATE "C" NOT NULL,
  left_values text NOT NULL,
  right_values text NOT NULL,
  equal_keys bigint NOT NULL,
  changed_keys bigint NOT NULL,
  only_left_keys bigint NOT NULL,
  only_right_keys bigint NOT NULL,
  differences jsonb NOT NULL,
  rows_read bigint NOT NULL,
  bytes_read bigint NOT NULL,
  horizon_wait_ms bigint NOT NULL,
  left_took_ms bigint NOT NULL,
  right_took_ms bigint NOT NULL,
  took_ms bigint NOT NULL,
  attempts integer NOT NULL,
  full_reads integer NOT NULL,
  version text COLLATE "C" NOT NULL,
  query_hash text COLLATE "C" NOT NULL,
  logged timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (check_id, run_id));
CREATE INDEX invariants_log_by_time ON recon_engine.invariants_log (check_id, scheduled);

-- One verdict of a person on one episode: a maximal run of equal status of one check. A later row overrules an earlier one; none is deleted.
CREATE TABLE recon_engine.adjudications (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  check_id text COLLATE "C" NOT NULL,
  first_scheduled timestamptz NOT NULL,
  verdict text COLLATE "C" NOT NULL CHECK (verdict IN ('real_break', 'check_bug', 'infra', 'expected_precondition', 'open')),
  evidence text NOT NULL CHECK (evidence <> ''),
  who text NOT NULL CHECK (who <> ''),
  said timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX adjudications_by_episode ON recon_engine.adjudications (check_id, first_scheduled);

-- Outages of the platform, as declared by people: errors within don't count against a check.
CREATE TABLE recon_engine.outages (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  began timestamptz NOT NULL,
  ended timestamptz NOT NULL CHECK (ended > began),
  what text NOT NULL CHECK (what <> ''),
  who text NOT NULL CHECK (who <> ''),
  said timestamptz NOT NULL DEFAULT clock_timestamp());

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'recon_log') THEN
    GRANT USAGE ON SCHEMA recon_engine TO recon_log;
    GRANT SELECT, INSERT ON recon_engine.invariants_log, recon_engine.adjudications, recon_engine.outages TO recon_log;
  END IF;
END $$;
