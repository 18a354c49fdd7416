# Sieve (Dovecot Pigeonhole, IMAPSieve): a message was moved out of Junk or Trash. What moving it there revoked is unrevoked,
# if it was not long ago. The settings are in rules/dovecot-imapsieve.conf.

require ["vnd.dovecot.pipe", "copy", "environment", "imapsieve"];

# From Junk to Trash is not back.
if environment :is "imap.mailbox" ["Junk", "Trash"] {
  stop;
}

pipe :copy :try "mailstamp" ["unrevoke", "--moved"];
