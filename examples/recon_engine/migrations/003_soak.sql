-- What a promotion stands on beside the record: breaks that were planted on purpose, who has signed, and where a cheaper way of reading is filed.
-- A break stands here before it is planted, so that a crash leaves it as not caught.
CREATE TABLE recon_engine.planted_breaks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  check_id text COLLATE "C" NOT NULL,
  what text NOT NULL CHECK (what <> ''),
  live boolean NOT NULL,
  planted timestamptz NOT NULL,
  removed timestamptz CHECK (removed >= planted),
  caught timestamptz CHECK (caught >= planted),
  fires integer NOT NULL DEFAULT 0 CHECK (fires >= 0));
CREATE INDEX planted_breaks_by_check ON recon_engine.planted_breaks (check_id, planted);

CREATE TABLE recon_engine.sign_offs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  check_id text COLLATE "C" NOT NULL,
  who text NOT NULL CHECK (who <> ''),
  said timestamptz NOT NULL DEFAULT clock_timestamp());

CREATE TABLE recon_engine.accumulators (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  check_id text COLLATE "C" NOT NULL,
  filed text NOT NULL,
  who text NOT NULL CHECK (who <> ''),
  said timestamptz NOT NULL DEFAULT clock_timestamp());

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'recon_log') THEN
    GRANT SELECT, INSERT ON recon_engine.sign_offs, recon_engine.accumulators TO recon_log;
    GRANT SELECT, INSERT, UPDATE ON recon_engine.planted_breaks TO recon_log;
  END IF;
END $$;
