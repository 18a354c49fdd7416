# Sieve (Dovecot Pigeonhole, IMAPSieve): a message was put into Sent. To whom it went is learned, if its From is one of the
# user's addresses. The settings are in rules/dovecot-imapsieve.conf. Whatever comes of it, the message stays.

require ["vnd.dovecot.pipe", "copy", "imapsieve"];

pipe :copy :try "mailstamp" ["learn-sent"];
