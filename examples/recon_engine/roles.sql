-- What recon_engine may do, beside examples/recon.sql (what any check of this ledger may read). Run by the owner of the database.
-- Its checks also read the mark cycles and the quiet windows:
GRANT SELECT ON TABLE mark_cycles TO recon;
GRANT SELECT ON TABLE quiet_windows TO recon;
-- Its record belongs to a role of its own, which can do nothing elsewhere:
CREATE ROLE recon_log LOGIN;  -- then, in psql: \password recon_log
CREATE SCHEMA recon_engine AUTHORIZATION recon_log;
