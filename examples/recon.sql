-- What a role that checks may do in the ledger: read these tables, and nothing else. Run by the owner of the database.
CREATE ROLE recon LOGIN;  -- then, in psql: \password recon
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE TEMPORARY ON DATABASE exchange FROM PUBLIC;
GRANT CONNECT ON DATABASE exchange TO recon;
GRANT USAGE ON SCHEMA public TO recon;
GRANT SELECT ON TABLE resume_tokens TO recon;
GRANT SELECT ON TABLE resume_token_digests TO recon;
GRANT SELECT ON TABLE balances TO recon;
