-- One used log for several mail hosts (mailstamp-store(8)): a role and a database for it. As the user postgres, on the
-- primary:
--
--   psql -f postgresql-mailstamp.sql
--   psql -c '\password mailstamp'
--
-- Standbys get both by replication. Then, on one mail host: mailstamp store init.

create role mailstamp login;
create database mailstamp owner mailstamp;
-- Any other role that connects could hold the locks of the log.
revoke connect, temporary on database mailstamp from public;
-- So that `mailstamp doctor` sees the standbys and their lag.
grant pg_monitor to mailstamp;
