# Sieve (Dovecot Pigeonhole): write the class of each message into its header, and sort by it. Use this one if your mail
# reader is to show the class; rules/sieve-execute.sieve leaves messages as they are. The plugin settings are in
# rules/dovecot-sieve.conf. It says "fileinto INBOX" and not "keep", because keep would leave a message that is judged later
# (see below) where it is.

require ["vnd.dovecot.execute", "vnd.dovecot.filter", "editheader", "fileinto", "mailbox"];

# What the sender wrote under our name goes first: when a filter fails, Sieve goes on with the unfiltered message.
deleteheader "Digital-Stamp-Class";

# As a test, "filter" says whether the program exited 0.
if not filter "mailstamp" ["filter"] {
  # Sieve cannot ask the mail system to try again. What could not be judged (75, killed, not installed) is kept apart, and
  # judged later with:  sieve-filter -e -W ~/.dovecot.sieve Undecided delete
  fileinto :create "Undecided";
  stop;
}

if header :matches "Digital-Stamp-Class" ["first-class;*", "allowed;*"] {
  # To the inbox, past every other filter.
  fileinto "INBOX";
} elsif header :matches "Digital-Stamp-Class" "underpaid;*" {
  fileinto :create "Underpaid";
} elsif header :matches "Digital-Stamp-Class" "unverified;*" {
  fileinto :create "Unverified";
} elsif header :matches "Digital-Stamp-Class" "invalid;*" {
  fileinto :create "Invalid";
} elsif header :matches "Digital-Stamp-Class" "used;*" {
  fileinto :create "Used";
} elsif header :matches "Digital-Stamp-Class" "revoked;*" {
  fileinto :create "Revoked";
} else {
  # unstamped: judged by its content, as ever; bogofilter exits 0 for spam.
  # With SpamAssassin instead (linked into the same folder), these two lines in place of the third:
  #filter "spamassassin" ["-L"];
  #if header :contains "X-Spam-Flag" "YES" {
  if execute :pipe "bogofilter" {
    fileinto :create "Junk";
  } else {
    fileinto "INBOX";
  }
}
