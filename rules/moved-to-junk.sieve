# Sieve (Dovecot Pigeonhole, IMAPSieve): a message was moved to Junk, or to Trash if that is set up. Its stamps are
# revoked, as far as this mailbox accepted them on this message. The settings are in rules/dovecot-imapsieve.conf.
# Whatever mailstamp finds, the message stays where the user put it.

require ["vnd.dovecot.pipe", "copy", "imapsieve"];

pipe :copy :try "mailstamp" ["revoke", "--moved"];
