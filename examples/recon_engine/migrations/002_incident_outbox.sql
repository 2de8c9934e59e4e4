-- Pages on their way: one row for an episode's firing and one for its end. Whatever is posted stands here first, so a restart forgets none.
CREATE TABLE recon_engine.incident_outbox (
  deduplication_key text COLLATE "C" NOT NULL,
  status text NOT NULL CHECK (status IN ('firing', 'resolved')),
  check_id text COLLATE "C" NOT NULL,
  signal text NOT NULL CHECK (signal IN ('invariant', 'infrastructure')),
  paging boolean NOT NULL CHECK (paging),  -- a check that must not page has no row here
  episode timestamptz NOT NULL,
  created timestamptz NOT NULL,
  title text NOT NULL,
  metadata json NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  next_attempt timestamptz NOT NULL,
  delivered timestamptz,
  withheld timestamptz,   -- the check's paging was switched off before it was taken
  abandoned timestamptz,  -- nobody took it for a day
  problem text NOT NULL DEFAULT '',
  PRIMARY KEY (deduplication_key, status)
);
CREATE INDEX incident_outbox_pending ON recon_engine.incident_outbox (next_attempt) WHERE delivered IS NULL AND withheld IS NULL AND abandoned IS NULL;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'recon_log') THEN
    GRANT SELECT, INSERT, UPDATE ON recon_engine.incident_outbox TO recon_log;
  END IF;
END $$;
