# Sieve (Dovecot Pigeonhole): write the class of each message into its header, and sort by it. Use this one if your mail
# reader is to show the class; rules/sieve-execute.sieve leaves messages as they are. This is a script of the
# administrator, /etc/dovecot/sieve/mailstamp.sieve, which runs before the user's own; rules/dovecot-sieve.conf has the
# settings, and says where the path of mailstamp is set.

require ["vnd.dovecot.execute", "vnd.dovecot.filter", "fileinto", "mailbox", "variables"];

# "filter" replaces the message by what the program prints. So the program must first say that it is mailstamp. As a
# test, "filter" says whether the program exited 0. mailstamp removes what the sender wrote under the name of its field.
# (deleteheader would crash Dovecot on a header line without a colon.)
set "version" "";
set "class" "";
# (screener: to hold strangers, remove the comment signs up to "end", here and below)
# An answer to a digest of held mail is carried out. One that is not valid goes on as any mail.
#if allof (header :matches "Subject" ["allow ?*-?*", "never ?*-?*"],
#          execute :output "version" "mailstamp" ["--version"],
#          string :matches "${version}" "mailstamp ?*",
#          execute :pipe "mailstamp" ["held", "answer"]) {
#  discard;
#  stop;
#}
# (screener: end)
if execute :output "version" "mailstamp" ["--version"] {
  if string :matches "${version}" "mailstamp ?*" {
    if filter "mailstamp" ["filter"] {
      if header :matches "Digital-Stamp-Class" "*; reason=?*" {
        set "class" "${1}";
      }
    } elsif filter "mailstamp" ["strip", "--results"] {
      # Not judged, and no class field of the sender's in it either.
      set "class" "";
    }
  }
}

# (screener: mail whose action is "hold" is kept aside; "mailstamp held list" shows it. What cannot be held goes on.)
#if allof (not string :is "${class}" "",
#          header :matches "Digital-Stamp-Class" ["*; action=hold", "*; action=challenge", "*; action=reject"],
#          execute :pipe "mailstamp" ["held", "add"]) {
#  discard;
#  stop;
#}
# (screener: end)

if not string :is "${class}" ["first-class", "allowed", "unstamped", "underpaid", "unverified", "invalid", "used",
                              "revoked"] {
  # Sieve cannot ask the mail system to try again. What could not be judged (75, killed, not installed) is kept apart,
  # and judged later with:
  #   sieve-filter -u USER -e -W -m INBOX /etc/dovecot/sieve/mailstamp.sieve Undecided delete
  fileinto :create "Undecided";
} elsif string :is "${class}" ["first-class", "allowed"] {
  # To the inbox, past every other filter.
  fileinto "INBOX";
} elsif string :is "${class}" "revoked" {
  # By the user or by the vendor.
  fileinto :create "Junk";
}
# underpaid, unverified, invalid, used: a bad stamp makes a message no worse than none at all, so it goes on as
# unstamped mail does. If you prefer a folder for each class, remove the comment signs:
#elsif string :is "${class}" ["underpaid", "unverified", "invalid", "used"] {
#  fileinto :create "${class}";
#}
# unstamped: judged by its content, as ever; bogofilter exits 0 for spam. What is left is the user's own script's to
# sort. With SpamAssassin instead (linked into the same folder), these lines in place of the others:
#else {
#  filter "spamassassin" ["-L"];
#  if header :contains "X-Spam-Flag" "YES" {
#    fileinto :create "Junk";
#  }
#}
elsif execute :pipe "bogofilter" {
  fileinto :create "Junk";
}
