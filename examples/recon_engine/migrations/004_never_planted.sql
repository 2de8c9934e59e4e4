-- A canary that could not be planted, as by a user who may not write, proves nothing about its check. The row stays, since the record takes nothing away;
-- this says why it does not count.
ALTER TABLE recon_engine.planted_breaks ADD COLUMN never_planted text CHECK (never_planted <> '');
