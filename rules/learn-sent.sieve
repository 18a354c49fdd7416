# Sieve (Dovecot Pigeonhole, IMAPSieve): a message was put into Sent. Its recipients are learned, if its From is one of
# the user's addresses. The settings are in rules/dovecot-imapsieve.conf. The message stays, even if learning fails.

require ["vnd.dovecot.pipe", "copy", "imapsieve"];

pipe :copy :try "mailstamp" ["learn-sent"];
