# Sieve (Dovecot Pigeonhole): sort mail by its digital stamp. One decision for every class. This is a script of the
# administrator, /etc/dovecot/sieve/mailstamp.sieve, which runs before the user's own; rules/dovecot-sieve.conf has the
# settings, and says where the path of mailstamp is set.
#
# A Sieve script learns only whether a program exited 0, and its output only then. So mailstamp prints the class and
# exits 0 for every class (--exit-zero); any other exit means that it could not decide. Write nothing else to the
# output: lines beyond 8 kB bring down Dovecot's delivery process.

require ["vnd.dovecot.execute", "vnd.dovecot.filter", "fileinto", "mailbox", "variables"];

# A class counts only with its word and status 0: ${verdict} is "first-class paid" and a line end. "strip" removes a
# class field that the sender wrote, because mail readers show it. (deleteheader in its place would crash Dovecot on a
# header line without a colon.) "filter" replaces the message by what the program prints, so the program must first say
# that it is mailstamp. As a test, "filter" says whether the program exited 0.
set "version" "";
set "verdict" "";
set "class" "";
set "action" "";
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
    if execute :pipe :output "verdict" "mailstamp" ["classify", "--exit-zero"] {
      if string :matches "${verdict}" ["first-class ?*", "allowed ?*", "unstamped ?*", "underpaid ?*", "unverified ?*",
                                       "invalid ?*", "used ?*", "revoked ?*"] {
        if allof (filter "mailstamp" ["strip", "--results"], string :matches "${verdict}" "* *") {
          set "class" "${1}";
        }
      }
    } elsif filter "mailstamp" ["strip", "--results"] {
      # Not judged, and no class field of the sender's in it either.
      set "class" "";
    }
  }
}

# (screener: mail whose action is "hold" is kept aside; "mailstamp held list" shows it. What cannot be held goes on.)
#if allof (not string :is "${class}" "",
#          execute :pipe :output "action" "mailstamp" ["classify", "--dry-run", "--action", "--exit-zero"],
#          string :matches "${action}" ["hold *", "challenge *", "reject *"],
#          execute :pipe "mailstamp" ["held", "add"]) {
#  discard;
#  stop;
#}
# (screener: end)

if string :is "${class}" "" {
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
# sort.
elsif execute :pipe "bogofilter" {
  fileinto :create "Junk";
}
