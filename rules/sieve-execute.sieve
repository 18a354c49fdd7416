# Sieve (Dovecot Pigeonhole): sort mail by its digital stamp. One run of mailstamp a message, a decision for every class.
# The plugin settings are in rules/dovecot-sieve.conf. It says "fileinto INBOX" and not "keep", because keep would leave a
# message that is judged later (see the end) where it is.
#
# A Sieve script learns only whether a program exited 0, and its output only then. So mailstamp prints the class and exits
# 0 for every class (--exit-zero); any other exit means that it could not decide. Write nothing else to the output: lines
# beyond 8 kB bring down Dovecot's delivery process.

require ["vnd.dovecot.execute", "fileinto", "mailbox", "variables"];

set "verdict" "";
if not execute :pipe :output "verdict" "mailstamp" ["classify", "--exit-zero"] {
  set "verdict" "undecided";
}

# ${verdict} is "first-class paid" and a line end, which the * takes.
if string :matches "${verdict}" ["first-class *", "allowed *"] {
  # To the inbox, past every other filter.
  fileinto "INBOX";
} elsif string :matches "${verdict}" "underpaid *" {
  fileinto :create "Underpaid";
} elsif string :matches "${verdict}" "unverified *" {
  fileinto :create "Unverified";
} elsif string :matches "${verdict}" "invalid *" {
  fileinto :create "Invalid";
} elsif string :matches "${verdict}" "used *" {
  fileinto :create "Used";
} elsif string :matches "${verdict}" "revoked *" {
  fileinto :create "Revoked";
} elsif string :matches "${verdict}" "unstamped *" {
  # Judged by its content, as ever; bogofilter exits 0 for spam. Your own rules may follow, or stand in place of this one.
  if execute :pipe "bogofilter" {
    fileinto :create "Junk";
  } else {
    fileinto "INBOX";
  }
} else {
  # Sieve cannot ask the mail system to try again. What could not be judged (75, killed, not installed) is kept apart, and
  # judged later with:  sieve-filter -e -W ~/.dovecot.sieve Undecided delete
  fileinto :create "Undecided";
}
