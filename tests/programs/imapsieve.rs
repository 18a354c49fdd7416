//! The recipes `rules/moved-to-junk.sieve`, `rules/moved-out-of-junk.sieve`, `rules/learn-sent.sieve` and
//! `rules/dovecot-imapsieve.conf`: a message is moved between folders, or put into one, by an IMAP client (Python's
//! imaplib), and Dovecot runs mailstamp. (BP3f, BC12b.)

use crate::support::dovecot::Dovecot;
use crate::support::programs::{chmod, contents, expected, program, recipe, settle, stand_in, with_folder_each};
use crate::support::smtp::{Protocol, send};
use crate::support::{ALICE, Home, letter, run};
use std::process::Command;

/// Moves the message with this Message-ID, as a mail reader does.
const MOVE: &str = r#"
import imaplib, sys
port, user, source, target, name = sys.argv[1:]
client = imaplib.IMAP4("127.0.0.1", int(port))
client.login(user, "any")
client.create(target)
assert client.select(source)[0] == "OK"
found = client.uid("SEARCH", "HEADER", "Message-ID", "<%s@y.example>" % name)[1][0].split()
assert len(found) == 1, found
print(client.uid("MOVE", found[0], target))
client.logout()
"#;

/// Puts a message into a folder, as a mail reader does with what it sent.
const APPEND: &str = r#"
import imaplib, sys
port, user, folder = sys.argv[1:]
client = imaplib.IMAP4("127.0.0.1", int(port))
client.login(user, "any")
client.create(folder)
done = client.append(folder, r"(\Seen)", None, sys.stdin.buffer.read().replace(b"\n", b"\r\n"))
assert done[0] == "OK", done
client.logout()
"#;

struct Server {
    dovecot: Dovecot,
    home: Home,
}

impl Server {
    fn start() -> Self {
        Self::with_edits(&[])
    }

    /// Starts one with edits of `rules/dovecot-imapsieve.conf`.
    fn with_edits(edits: &[(&str, &str)]) -> Self {
        let home = Home::new();
        let dovecot = Dovecot::with_imap(edits);
        settle(&home, &dovecot.home(ALICE));
        dovecot.administrator_script(&with_folder_each(&recipe("sieve-execute.sieve", &[])));
        dovecot.hand_over();
        Self { dovecot, home }
    }

    fn deliver(&self, message: &[u8]) {
        let codes = send(Protocol::Lmtp, self.dovecot.port(), "bob@y.example", &[ALICE], message);
        assert_eq!(codes, [250], "{}", self.dovecot.log());
    }

    #[track_caller]
    fn shift(&self, name: &str, from: &str, to: &str) {
        let port = self.dovecot.imap_port().to_string();
        let mut python = Command::new(program("python3", "python3"));
        python.args(["-c", MOVE, &port, ALICE, from, to, name]);
        let ran = run(&mut python, b"");
        assert_eq!(ran.code, 0, "{}\n{}", ran.stderr, self.dovecot.log());
    }

    #[track_caller]
    fn append(&self, folder: &str, message: &[u8]) {
        let port = self.dovecot.imap_port().to_string();
        let mut python = Command::new(program("python3", "python3"));
        let ran = run(python.args(["-c", APPEND, &port, ALICE, folder]), message);
        assert_eq!(ran.code, 0, "{}\n{}", ran.stderr, self.dovecot.log());
    }

    /// What the user's own log says of the stamp.
    fn state(&self, serial: &str) -> String {
        let listed = self.ask("grants", serial);
        listed.split(' ').next().unwrap_or_default().to_owned()
    }

    /// What a command says with the user's own log.
    fn ask(&self, command: &str, argument: &str) -> String {
        // A copy, since the log itself belongs to the mail user, and no other user may read it.
        let state = self.home.file("copy");
        let _ = std::fs::remove_dir_all(&state);
        let mut copy = Command::new("cp");
        copy.args(["-r", "--no-preserve=ownership"]);
        run(copy.arg(self.dovecot.home(ALICE).join(".local/state/mailstamp")).arg(&state), b"").exits(0);
        let args = ["--state", state.to_str().unwrap(), command, argument];
        self.home.run(args, b"").exits(0).text()
    }

    fn inbox(&self) -> Vec<(String, Vec<String>)> {
        contents(&self.dovecot.inbox(ALICE))
    }
}

#[test]
fn moving_to_junk_revokes_and_moving_out_unrevokes() {
    let server = Server::start();
    let stamp = server.home.issue(ALICE, ["--serial", "one"]);
    server.deliver(&server.home.affix(&stamp, &letter("1")));
    assert_eq!(server.inbox(), expected(&[("", &["1"])]), "{}", server.dovecot.log());
    server.shift("1", "INBOX", "Junk");
    assert_eq!(server.state("one"), "revoked", "{}", server.dovecot.log());
    // The sender's next message is refused.
    server.deliver(&server.home.affix(&stamp, &letter("2")));
    assert_eq!(server.inbox(), expected(&[(".Junk", &["1", "2"])]), "{}", server.dovecot.log());
    // A move to Trash does not unrevoke.
    server.shift("1", "Junk", "Trash");
    assert_eq!(server.state("one"), "revoked", "{}", server.dovecot.log());
    server.shift("1", "Trash", "Junk");
    server.shift("1", "Junk", "INBOX");
    assert_ne!(server.state("one"), "revoked", "{}", server.dovecot.log());
    // Between other folders nothing happens.
    server.deliver(&server.home.affix(&server.home.issue(ALICE, ["--serial", "two"]), &letter("3")));
    server.shift("3", "INBOX", "Archive");
    server.shift("3", "Archive", "INBOX");
    assert_eq!(server.state("two"), "", "{}", server.dovecot.log());
    // Nor when read mail is deleted.
    server.shift("3", "INBOX", "Trash");
    assert_eq!(server.state("two"), "", "{}", server.dovecot.log());
    server.shift("3", "Trash", "INBOX");
    assert_eq!(server.state("two"), "", "{}", server.dovecot.log());
}

#[test]
fn trash_revokes_where_the_administrator_says_so() {
    let server = Server::with_edits(&[("  #imapsieve_", "  imapsieve_")]);
    server.deliver(&server.home.affix(&server.home.issue(ALICE, ["--serial", "one"]), &letter("1")));
    for folder in ["Trash", "Junk"] {
        server.shift("1", "INBOX", folder);
        assert_eq!(server.state("one"), "revoked", "{}", server.dovecot.log());
        server.shift("1", folder, "INBOX");
        assert_ne!(server.state("one"), "revoked", "{}", server.dovecot.log());
    }
    // From one to the other it stays revoked.
    server.shift("1", "INBOX", "Junk");
    server.shift("1", "Junk", "Trash");
    assert_eq!(server.state("one"), "revoked", "{}", server.dovecot.log());
    server.shift("1", "Trash", "INBOX");
    assert_ne!(server.state("one"), "revoked", "{}", server.dovecot.log());
}

#[test]
fn a_copy_that_never_came_in_revokes_nothing_and_a_failure_moves_the_message_all_the_same() {
    let server = Server::start();
    let stamp = server.home.issue(ALICE, ["--serial", "one"]);
    server.deliver(&server.home.affix(&stamp, &letter("1")));
    // Threat 32: refused on arrival, and moved on by the user.
    server.deliver(&server.home.affix(&stamp, &letter("planted")));
    server.shift("planted", "used", "Junk");
    assert_eq!(server.state("one"), "", "{}", server.dovecot.log());
    let mailstamp = server.dovecot.file("bin/mailstamp");
    stand_in(&mailstamp, "#!/bin/sh\ncat >/dev/null; exit 75\n");
    server.shift("1", "INBOX", "Junk");
    chmod(&mailstamp, 0o644);
    server.shift("1", "Junk", "INBOX");
    assert_eq!(server.inbox(), expected(&[("", &["1"]), (".Junk", &["planted"])]), "{}", server.dovecot.log());
}

#[test]
fn what_is_put_into_sent_is_learned_and_nothing_else() {
    let server = Server::start();
    let sent = |to: &str| format!("From: {ALICE}\nTo: {to}\nMessage-ID: <{to}>\n\nhello\n").into_bytes();
    server.append("Sent", &sent("bob@y.example"));
    server.append("Drafts", &sent("draft@y.example"));
    server.append("Sent", &letter("from-bob"));
    let known = server.ask("correspondents", "");
    assert!(
        known.starts_with("bob@y.example  first ") && known.lines().count() == 1,
        "{known}{}",
        server.dovecot.log()
    );
    // Where mailstamp fails, the message is kept all the same.
    stand_in(&server.dovecot.file("bin/mailstamp"), "#!/bin/sh\ncat >/dev/null; exit 75\n");
    server.append("Sent", &sent("carol@y.example"));
    let kept: Vec<String> =
        server.inbox().into_iter().filter(|(name, _)| name == ".Sent").flat_map(|it| it.1).collect();
    assert_eq!(kept, ["bob", "carol", "from-bob"]);
}
