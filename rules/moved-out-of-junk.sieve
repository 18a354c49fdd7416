# Sieve (Dovecot Pigeonhole, IMAPSieve): a message was moved out of Junk, or out of Trash if that is set up. The
# stamps that its move there revoked are unrevoked, if that was not long ago. The settings are in
# rules/dovecot-imapsieve.conf.

require ["vnd.dovecot.pipe", "copy", "environment", "imapsieve"];

# A move from Junk to Trash changes nothing: spam is deleted too.
if environment :is "imap.mailbox" ["Junk", "Trash"] {
  stop;
}

pipe :copy :try "mailstamp" ["unrevoke", "--moved"];
